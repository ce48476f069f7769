package etcdapi

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setSendTimeout ends the connection when sent data is not acknowledged for d
// (TCP_USER_TIMEOUT, RFC 5482).
func setSendTimeout(conn *net.TCPConn, d time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	if err := raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); err != nil {
		return err
	}
	return opt
}

// acknowledger returns a function that sends the acknowledgement of what was just
// read at once.
//
// Patroni sends the head and the body of a request in two segments, and its way of
// connecting loses urllib3's TCP_NODELAY: its kernel holds the body back until the
// head is acknowledged, and ours would wait 40 ms for an answer to put the
// acknowledgement on. Every request of Patroni to etcd costs these 40 ms.
func acknowledger(conn *net.TCPConn) func() {
	raw, err := conn.SyscallConn()
	if err != nil {
		return func() {}
	}
	ack := func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	return func() { _ = raw.Control(ack) }
}
