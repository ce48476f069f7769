// Package etcdapi serves the etcd v3 API on one TCP port: gRPC for etcd clients and
// the JSON gateway that Patroni speaks, over a [Backend] that owns the replicated
// state. What is served, and where it differs from etcd on purpose, is described in
// docs/etcd-api.md.
//
// The services and the gateway are etcd's own generated code; this package holds
// the behaviour behind them. Reads that allow it and all watches are answered from
// the local state; everything else goes through the Backend to the leader.
//
// Two rules shape the code:
//
//   - A client is never told that a lease lives unless the Backend has just
//     confirmed it. In JSON a dead lease has no TTL field at all, because Patroni
//     takes the string "0" for true.
//   - A node without a leader must lose its JSON clients at once. Patroni before
//     4.0.6 retries an "unavailable" reply on the same node until it gives up
//     leadership, but changes nodes when a connection breaks: so connections are
//     aborted ([http.ErrAbortHandler]) where a gRPC client gets code Unavailable.
package etcdapi
