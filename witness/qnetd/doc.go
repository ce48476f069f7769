// Package qnetd is the server for corosync-qdevice: it speaks the protocol of
// corosync-qnetd over the replicated log, on every witness.
//
// A session belongs to the witness that has its connection, its owner. What a
// client says becomes entries of the log, many in one; the votes come out of the
// state, and the owner sends them. Heartbeats are not logged: the owner answers
// them while it is in confirmed contact with the leader, and tells the leader
// once a second that it lives. How long each side waits before it takes the
// other for gone is chosen so that no client holds a vote that was given away:
// see docs/qnetd.md and docs/DESIGN.md.
package qnetd
