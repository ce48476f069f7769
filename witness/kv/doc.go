// Package kv is an etcd v3 compatible multi-version key space as an immutable value.
//
// A [Store] is never modified: every write returns a new one that shares with the
// old one everything that did not change, at a cost of O(log n) per changed key.
// Any number of goroutines may read any Store without locks; whoever owns the
// sequence of states publishes the newest one, for example by an atomic pointer.
//
// The package is pure. It has no clock, no goroutine, no source of randomness and
// no output that depends on the order of a Go map: the same sequence of calls
// gives the same Store, byte for byte, on every replica. Lease identifiers and all
// decisions about time come from the caller.
//
// The meaning of every operation is that of etcd v3 (checked against etcd 3.4 by
// the differential test of package etcdapi), with the additions that guarded expiry
// needs: a lease can be dead while its keys stay ([Store.Kill], [Store.Revive]).
//
// Byte slices that are handed in become part of the Store, and those handed out
// belong to it: neither side may modify them afterwards.
package kv
