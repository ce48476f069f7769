// Package vote has the decision algorithms of corosync-qnetd 3.0.3: which
// partition of a cluster gets the vote of the quorum device. It is pure: the
// same ballot always gives the same result.
//
// Names and behaviour follow corosync-qnetd(8) and corosync-qdevice(8). Where
// the stock server is known to be wrong the difference is named at the function;
// [StrictLMS] has the stock behaviour of lms.
//
// A result only says which votes are wanted. Whoever sends them must send every
// NACK first, and an ACK only after each NACK was answered.
package vote
