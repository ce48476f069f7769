// Package memnet is a network in memory: listeners, connections and, above
// all, faults. Witnesses that are dialled through it can run in a testing/synctest
// bubble, in tests of several packages and in demos, without a socket.
//
// It behaves as TCP does where it matters: what is written across a cut link is
// held and arrives when the link is healed, a dial across it hangs until its
// context ends, and a closed host refuses at once.
package memnet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"syscall"
	"time"
)

// Net is a set of hosts that reach each other. Create it with [New].
type Net struct {
	mu        sync.Mutex
	listeners map[string]*Listener
	conns     map[*Conn]struct{}
	cut       map[[2]string]bool
	isolated  map[string]bool
	change    chan struct{} // closed and replaced when a link changes
	delay     func(from, to string) time.Duration
}

// New returns a network without hosts.
func New() *Net {
	return &Net{
		listeners: map[string]*Listener{},
		conns:     map[*Conn]struct{}{},
		cut:       map[[2]string]bool{},
		isolated:  map[string]bool{},
		change:    make(chan struct{}),
	}
}

// Addr is the name of a host.
type Addr string

// Network implements net.Addr.
func (Addr) Network() string { return "mem" }

// String implements net.Addr.
func (a Addr) String() string { return string(a) }

// Listen opens the one port of host.
func (n *Net) Listen(host string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[host] != nil {
		return nil, fmt.Errorf("listen %s: %w", host, syscall.EADDRINUSE)
	}
	l := &Listener{net: n, host: host, queue: make(chan *Conn, 64), done: make(chan struct{})}
	n.listeners[host] = l
	return l, nil
}

// Dialer returns the function by which host opens connections.
func (n *Net) Dialer(host string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return n.dial(ctx, host, addr) }
}

func (n *Net) dial(ctx context.Context, from, to string) (net.Conn, error) {
	for {
		n.mu.Lock()
		l, cut, change := n.listeners[to], n.parted(from, to), n.change
		n.mu.Unlock()
		if !cut && l == nil {
			return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
		}
		if !cut {
			a, b := n.pair(from, to)
			select {
			case l.queue <- b:
				return a, nil
			case <-l.done:
				_ = a.Close()
				return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
			case <-ctx.Done():
				_ = a.Close()
				return nil, ctx.Err()
			}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *Net) pair(from, to string) (a, b *Conn) {
	ab, ba := newStream(), newStream()
	a = &Conn{net: n, local: from, remote: to, in: ba, out: ab}
	b = &Conn{net: n, local: to, remote: from, in: ab, out: ba}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	ab.slow(n.delayOf(from, to))
	ba.slow(n.delayOf(to, from))
	held := n.parted(from, to)
	ab.hold(held)
	ba.hold(held)
	return a, b
}

// Delay has everything that is sent from now on, over new connections and those
// that exist, take as long as f says; f may be called from any goroutine. What
// is sent over one connection stays in order. Nil means no delay.
func (n *Net) Delay(f func(from, to string) time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = f
	for c := range n.conns {
		c.out.slow(n.delayOf(c.local, c.remote))
	}
}

// delayOf is called with the lock held.
func (n *Net) delayOf(from, to string) func() time.Duration {
	f := n.delay
	if f == nil || from == to {
		return nil
	}
	return func() time.Duration { return f(from, to) }
}

// Isolate cuts host off from every other host, present and future.
func (n *Net) Isolate(host string) { n.alter(func() { n.isolated[host] = true }) }

// Rejoin heals every link of host.
func (n *Net) Rejoin(host string) {
	n.alter(func() {
		delete(n.isolated, host)
		maps.DeleteFunc(n.cut, func(l [2]string, _ bool) bool { return l[0] == host || l[1] == host })
	})
}

// Cut stops all traffic between two hosts.
func (n *Net) Cut(a, b string) { n.alter(func() { n.cut[link(a, b)] = true }) }

// Heal joins every link; what was held arrives.
func (n *Net) Heal() {
	n.alter(func() {
		clear(n.cut)
		clear(n.isolated)
	})
}

func (n *Net) alter(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	for c := range n.conns {
		held := n.parted(c.local, c.remote)
		c.in.hold(held)
		c.out.hold(held)
	}
	close(n.change)
	n.change = make(chan struct{})
}

// parted is called with the lock held.
func (n *Net) parted(a, b string) bool {
	return a != b && (n.cut[link(a, b)] || n.isolated[a] || n.isolated[b])
}

func link(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// Listener is the open port of a host.
type Listener struct {
	net   *Net
	host  string
	queue chan *Conn
	done  chan struct{}
	once  sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that were accepted stay open.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.host)
		l.net.mu.Unlock()
		close(l.done)
	})
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return Addr(l.host) }
