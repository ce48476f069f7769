package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	greetTimeout = 5 * time.Second
	maxStrangers = 256 // accepted connections that have not greeted yet
)

var errIsolated = errors.New("this witness keeps off its peers because its disk does not answer")

// port is the peer port: it accepts and dials connections, greets, and hands
// them to Raft or to the internal calls by their first byte.
type port struct {
	ln     net.Listener
	addr   string // advertised
	dialer DialFunc
	tls    *tls.Config
	log    *slog.Logger

	self  func() greeting
	meet  func(name, disk string) error
	named func(addr string) string // name of the member at addr, or ""
	rpc   func(conn net.Conn, from string)

	raft chan net.Conn
	done chan struct{}
	slot chan struct{}
	work tasks

	mu       sync.Mutex
	conns    map[*trackedConn]struct{}
	isolated bool
	closed   bool
}

// peerAddr is an advertised address; it need not be one of this machine.
type peerAddr string

func (peerAddr) Network() string  { return "tcp" }
func (a peerAddr) String() string { return string(a) }

// trackedConn is a connection that the port can cut.
type trackedConn struct {
	net.Conn
	port *port
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c)
	c.port.mu.Unlock()
	return c.Conn.Close()
}

func newPort(ln net.Listener, o *Options) *port {
	p := &port{
		ln: ln, dialer: o.Dial, tls: o.TLS, log: o.Log,
		raft:  make(chan net.Conn),
		done:  make(chan struct{}),
		slot:  make(chan struct{}, maxStrangers),
		conns: map[*trackedConn]struct{}{},
	}
	if p.dialer == nil {
		var d net.Dialer
		p.dialer = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	p.addr = o.Advertise
	if p.addr == "" {
		p.addr = o.Peers[o.Name]
	}
	if p.addr == "" {
		p.addr = ln.Addr().String()
	}
	return p
}

// track takes a connection under control, or closes it if there is none to be.
func (p *port) track(c net.Conn) (*trackedConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.isolated {
		err := net.ErrClosed
		if p.isolated {
			err = errIsolated
		}
		return nil, errors.Join(err, c.Close())
	}
	t := &trackedConn{Conn: c, port: p}
	p.conns[t] = struct{}{}
	return t, nil
}

// isolate cuts all connections and keeps new ones away while on is true.
func (p *port) isolate(on bool) {
	p.mu.Lock()
	p.isolated = on
	conns := p.conns
	if on {
		p.conns = map[*trackedConn]struct{}{}
	}
	p.mu.Unlock()
	if !on {
		return
	}
	for c := range conns {
		_ = c.Conn.Close() // the peers notice by themselves
	}
}

// close ends the port and waits for everything that it started.
func (p *port) close() {
	p.mu.Lock()
	already := p.closed
	p.closed = true
	conns := p.conns
	p.conns = map[*trackedConn]struct{}{}
	p.mu.Unlock()
	if already {
		return
	}
	close(p.done)
	_ = p.ln.Close()
	for c := range conns {
		_ = c.Conn.Close()
	}
	p.work.wait()
}

// serve accepts connections until the port is closed.
func (p *port) serve() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			select {
			case <-p.done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if !errors.Is(err, net.ErrClosed) {
				p.log.Warn("peer port cannot accept", "err", err)
			}
			continue
		}
		select {
		case p.slot <- struct{}{}:
		case <-p.done:
			_ = c.Close()
			return
		}
		if !p.work.start(func() { p.receive(c) }) {
			_ = c.Close()
			return
		}
	}
}

func (p *port) receive(raw net.Conn) {
	free := sync.OnceFunc(func() { <-p.slot })
	defer free()
	c, err := p.track(raw)
	if err != nil {
		return
	}
	conn, kind, g, err := p.answer(c)
	if err != nil {
		_ = c.Close()
		p.log.Warn("peer connection refused", "remote", raw.RemoteAddr().String(), "err", err)
		return
	}
	free()
	if kind == kindRPC {
		p.rpc(conn, g.From)
		_ = conn.Close()
		return
	}
	select {
	case p.raft <- conn:
	case <-p.done:
		_ = conn.Close()
	}
}

// answer does the accepting side of a greeting.
func (p *port) answer(c *trackedConn) (net.Conn, byte, greeting, error) {
	_ = c.SetDeadline(time.Now().Add(greetTimeout))
	var conn net.Conn = c
	prove := func(string) error { return nil }
	if p.tls != nil {
		cfg := p.tls.Clone()
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		tc := tls.Server(c, cfg)
		if err := tc.Handshake(); err != nil {
			return nil, 0, greeting{}, fmt.Errorf("TLS: %w", err)
		}
		prove = tc.ConnectionState().PeerCertificates[0].VerifyHostname
		conn = tc
	}
	kind, g, err := readGreeting(conn)
	if err != nil {
		return nil, 0, g, err
	}
	self := p.self()
	if err = prove(g.From); err == nil {
		err = self.accepts(g)
	}
	if err == nil {
		err = p.meet(g.From, g.Disk)
	}
	if err != nil {
		self.Refuse = err.Error()
	}
	self.To = g.From
	if werr := writeGreeting(conn, kind, self); werr != nil || err != nil {
		return nil, 0, g, errors.Join(err, werr)
	}
	return conn, kind, g, c.SetDeadline(time.Time{})
}

// dial opens a connection of one kind to the peer called name ("" = unknown).
func (p *port) dial(ctx context.Context, kind byte, name, addr string) (net.Conn, error) {
	p.mu.Lock()
	isolated := p.isolated
	p.mu.Unlock()
	if isolated {
		return nil, errIsolated
	}
	raw, err := p.dialer(ctx, addr)
	if err != nil {
		return nil, err
	}
	c, err := p.track(raw)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, err := p.greet(c, kind, name)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("witness %q at %s: %w", name, addr, err)
	}
	return conn, c.SetDeadline(time.Time{})
}

// greet does the dialling side of a greeting.
func (p *port) greet(c *trackedConn, kind byte, name string) (net.Conn, error) {
	var conn net.Conn = c
	if p.tls != nil {
		cfg := p.tls.Clone()
		if name != "" {
			cfg.ServerName = name
		}
		tc := tls.Client(c, cfg)
		if err := tc.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = tc
	}
	self := p.self()
	self.To = name
	if err := writeGreeting(conn, kind, self); err != nil {
		return nil, err
	}
	_, g, err := readGreeting(conn)
	if err != nil {
		return nil, err
	}
	if g.Refuse != "" {
		return nil, fmt.Errorf("refused: %s", g.Refuse)
	}
	g.To = ""
	if err := self.accepts(g); err != nil {
		return nil, err
	}
	if name != "" && g.From != name {
		return nil, fmt.Errorf("this address belongs to witness %q: correct the peer addresses", g.From)
	}
	return conn, p.meet(g.From, g.Disk)
}

// raftLayer is the port as hashicorp/raft sees it. Only the stream is ours:
// around another transport than its own, raft silently turns pre-vote off.
type raftLayer struct{ port *port }

var _ raft.StreamLayer = raftLayer{}

// Accept implements net.Listener.
func (l raftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.port.raft:
		return c, nil
	case <-l.port.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l raftLayer) Close() error {
	l.port.close()
	return nil
}

// Addr implements net.Listener.
func (l raftLayer) Addr() net.Addr { return peerAddr(l.port.addr) }

// Dial implements raft.StreamLayer.
func (l raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.port.dial(ctx, kindRaft, l.port.named(string(addr)), string(addr))
}
