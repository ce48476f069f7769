// Package demo shows a whole failover on one machine: a small simulated
// database cluster that speaks to real witnesses over the etcd API, hosts on
// loopback addresses of their own, and BMCs that serve real Redfish.
//
// Only the database is simulated. Its members behave as Patroni's do: a lease
// each, a member key, a leader key that is created only when absent, and a
// race as soon as a watch shows that the leader key is gone.
package demo
