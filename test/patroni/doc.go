// Package patroni runs unmodified Debian Patroni and PostgreSQL in a lab, three
// database hosts that each have a BMC, over either of two stores: a real
// three-node etcd, or three witnesses. Its integration tests (build tag
// integration, as root) are the failover cases that Quorate promises; its
// benchmark measures the same fault on both stores in one run.
package patroni
