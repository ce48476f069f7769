//go:build !linux

package etcdapi

import (
	"net"
	"time"
)

// setSendTimeout does nothing here: only Linux has TCP_USER_TIMEOUT.
func setSendTimeout(*net.TCPConn, time.Duration) error { return nil }

// acknowledger does nothing here: only Linux has TCP_QUICKACK.
func acknowledger(*net.TCPConn) func() { return func() {} }
