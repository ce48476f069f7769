// Package qdevice is a corosync-qdevice in Go, as far as a server can tell: the
// handshake, the lists, echo requests, what it does with a vote and when it
// connects again are those of version 3.0.3. Thousands fit into one process,
// which is what it is for; whatever can be shown with the real one is shown in
// test/pacemaker.
package qdevice
