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
