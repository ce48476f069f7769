package lab

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// DialContext opens a connection from inside the host's network, so that tests
// can look at the lab from any of its hosts without a process there (which
// KillAll would kill). The address must be a literal IP and port.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	var dial func()
	dial = func() {
		// A socket belongs to the namespace of the thread that makes it. The
		// thread is thrown away if it cannot be brought back.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread's namespace is what /proc shows as the process's
			// own: as long as it is held here, another thread takes the work.
			defer runtime.UnlockOSThread()
			elsewhere := make(chan struct{})
			go func() {
				defer close(elsewhere)
				dial()
			}()
			<-elsewhere
			return
		}
		conn, err, restored := dialIn(ctx, h.namespace, network, address)
		if restored {
			runtime.UnlockOSThread()
		}
		done <- result{conn, err}
	}
	go dial()
	r := <-done
	return r.conn, r.err
}

func dialIn(ctx context.Context, namespace, network, address string) (conn net.Conn, err error, restored bool) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err, true
	}
	defer home.Close()
	target, err := os.Open(filepath.Join("/run/netns", namespace))
	if err != nil {
		return nil, err, true
	}
	defer target.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("setns", err), true
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil && net.ParseIP(host) == nil {
		err = errors.New("not a literal IP address: " + host)
	}
	if err == nil {
		// A negative fallback delay keeps the dial in this goroutine.
		dialer := net.Dialer{FallbackDelay: -1}
		conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
	restored = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil
	return conn, err, restored
}

// DialTCP is DialContext for libraries that know only TCP.
func (h *Host) DialTCP(ctx context.Context, address string) (net.Conn, error) {
	return h.DialContext(ctx, "tcp", address)
}
