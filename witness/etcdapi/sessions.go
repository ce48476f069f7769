package etcdapi

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// SessionInfo is what one client host has open. A host that holds a leader key and
// has no connection left is probably gone: a hint, not a proof.
type SessionInfo struct {
	Remote  netip.Addr
	Conns   int // TCP connections
	Watches int // watch streams, of JSON and gRPC clients
}

// sessions counts connections by remote host. The zero value is ready.
type sessions struct {
	mu      sync.Mutex
	hosts   map[netip.Addr]SessionInfo
	conns   int
	changed chan struct{}
}

func (s *sessions) list() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SessionInfo, 0, len(s.hosts))
	for _, info := range s.hosts {
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b SessionInfo) int { return a.Remote.Compare(b.Remote) })
	return out
}

func (s *sessions) wake() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// admit counts a new connection, or says that there are too many.
func (s *sessions) admit(remote netip.Addr, l Limits) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns >= l.Conns || s.hosts[remote].Conns >= l.ConnsPerHost {
		return false
	}
	s.change(remote, 1, 0)
	return true
}

func (s *sessions) add(remote netip.Addr, conns, watches int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(remote, conns, watches)
}

// change needs the lock.
func (s *sessions) change(remote netip.Addr, conns, watches int) {
	s.conns += conns
	if s.hosts == nil {
		s.hosts = map[netip.Addr]SessionInfo{}
	}
	info := s.hosts[remote]
	info.Remote = remote
	info.Conns += conns
	info.Watches += watches
	if info.Conns == 0 && info.Watches == 0 {
		delete(s.hosts, remote)
	} else {
		s.hosts[remote] = info
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// watching counts a request as a watch stream of its host while it runs.
func (s *sessions) watching(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := remoteHost(r.RemoteAddr)
		s.add(host, 0, 1)
		defer s.add(host, 0, -1)
		next.ServeHTTP(w, r)
	})
}

func remoteHost(addr string) netip.Addr {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// A client host that loses power sends nothing more. Without these bounds its
// connections would look alive for hours.
const (
	keepAliveIdle     = time.Second
	keepAliveInterval = time.Second
	keepAliveCount    = 3
	// sendTimeout is for data that is not acknowledged, where keepalive is silent.
	sendTimeout = 4 * time.Second
)

// countingListener counts what it accepts, refuses what is too much, and makes dead
// peers show within seconds.
type countingListener struct {
	net.Listener
	sessions *sessions
	limits   Limits
	log      *slog.Logger

	warned time.Time
}

// warnEvery bounds how often a refused connection is worth a line in the log.
const warnEvery = time.Minute

// Accept returns the next connection that is not too much.
func (l *countingListener) Accept() (*countedConn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := remoteHost(conn.RemoteAddr().String())
		if !l.sessions.admit(host, l.limits) {
			_ = conn.Close()
			if now := time.Now(); now.Sub(l.warned) >= warnEvery {
				l.warned = now
				l.log.Warn("etcd API refuses connections: too many are open; does a client leak them?",
					"remote", host, "limit", l.limits.Conns, "limit_per_host", l.limits.ConnsPerHost)
			}
			continue
		}
		counted := &countedConn{Conn: conn, closed: sync.OnceFunc(func() { l.sessions.add(host, -1, 0) })}
		if tcp, ok := conn.(*net.TCPConn); ok {
			// Best effort: without them the host is only noticed later.
			_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
				Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
			})
			_ = setSendTimeout(tcp, sendTimeout)
			counted.ack = acknowledger(tcp)
		}
		return counted, nil
	}
}

type countedConn struct {
	net.Conn
	ack    func() // acknowledges what was read; nil = the kernel does, when it likes
	closed func()
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.ack != nil {
		c.ack()
	}
	return n, err
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
