// Package proxy stands between corosync-qdevice on a cluster node and the
// witnesses, on the same node. It keeps qdevice's connection when a witness is
// lost, and takes the session to another one, so that a node that is alone with
// the vote of the device does not lose quorum meanwhile.
//
// It is never a quorum of its own. Four rules see to that:
//
//   - Every vote that qdevice gets was given by a witness in this session; a
//     NACK is passed on at once, also by a witness that is being left.
//   - An echo request of qdevice is answered only while a witness has confirmed
//     the session within the lease, counted from when the confirmed request was
//     sent. When the lease ends, so does qdevice's connection, and qdevice casts
//     a NACK.
//   - What holds if the proxy itself stops at the worst moment is announced to
//     the witnesses as the heartbeat interval ([Heartbeat]): they wait longer
//     than twice that before they give the vote to others.
//   - The vote outlives a connection only if the witness has promised to reckon
//     with that ([wire.OptHold]). Without the promise it ends with it.
//
// [Core] is all of it but sockets: it takes events and the time, and returns
// what to do. [Proxy] does it.
package proxy
