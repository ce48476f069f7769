// Package etcd tests the etcd API of real witnessd processes with etcd's own
// clients, and measures it beside real etcd servers: linearizability and leases
// under kills, pauses and partitions, clientv3's locks, speed.
//
// Everything here is behind the build tag integration and runs in test/lab.
package etcd
