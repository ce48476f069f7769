package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"quorate/witness"
)

// links are the outgoing call connections, one per peer.
type links struct {
	port *port
	addr func(name string) (string, bool) // where a member listens

	tasks *tasks

	mu    sync.Mutex
	peers map[string]*peerLink
}

type peerLink struct {
	dialing chan struct{} // held by whoever dials

	mu   sync.Mutex
	conn *callConn
}

func (l *links) peer(name string) *peerLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[name]
	if p == nil {
		p = &peerLink{dialing: make(chan struct{}, 1)}
		l.peers[name] = p
	}
	return p
}

// live returns the connection if it still works.
func (p *peerLink) live() *callConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	select {
	case <-p.conn.done:
		p.conn = nil
		return nil
	default:
		return p.conn
	}
}

// drop closes the connection: the peer has stopped answering on it.
func (p *peerLink) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.conn.Close()
		p.conn = nil
	}
}

func (l *links) connect(ctx context.Context, name string) (*callConn, error) {
	p := l.peer(name)
	if c := p.live(); c != nil {
		return c, nil
	}
	select {
	case p.dialing <- struct{}{}:
		defer func() { <-p.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := p.live(); c != nil {
		return c, nil
	}
	addr, ok := l.addr(name)
	if !ok {
		return nil, fmt.Errorf("no witness is called %q", name)
	}
	conn, err := l.port.dial(ctx, kindRPC, name, addr)
	if err != nil {
		return nil, err
	}
	c := newCallConn(conn)
	if !l.tasks.start(c.read) {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	p.mu.Lock()
	p.conn = c
	p.mu.Unlock()
	return c, nil
}

// call asks one peer. The error wraps errNotTaken if the request certainly had
// no effect there.
func (l *links) call(ctx context.Context, name, method string, req []byte) ([]byte, error) {
	c, err := l.connect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return c.call(ctx, method, req)
}

// ask is call for methods that answer at once: a peer that lets the deadline
// pass is cut off, so that the next call does not wait on a dead connection.
func (l *links) ask(ctx context.Context, name, method string, req []byte) ([]byte, error) {
	resp, err := l.call(ctx, name, method, req)
	if ctx.Err() == context.DeadlineExceeded {
		l.peer(name).drop()
	}
	return resp, err
}

// handlers are the internal calls that this node answers.
type handlers struct {
	mu sync.RWMutex
	m  map[string]Handler
}

func (h *handlers) get(method string) Handler {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.m[method]
}

func (h *handlers) set(method string, f Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.m[method] = f
}

// Handle registers fn for internal calls named method, which must not begin
// with "node."; fn must return soon after its context ends.
func (n *Node) Handle(method string, fn Handler) { n.handlers.set(method, fn) }

// Call asks the witness called node. A request that was sent is never sent
// again. It returns what the handler there returned, or a no-quorum error if
// that witness cannot be reached.
func (n *Node) Call(ctx context.Context, node, method string, req []byte) ([]byte, error) {
	if node == n.opts.Name {
		h := n.handlers.get(method)
		if h == nil {
			return nil, &witness.Error{Code: witness.CodeInternal, Msg: fmt.Sprintf("unknown internal call %q", method)}
		}
		return h(ctx, node, req)
	}
	if n.rt() == nil {
		return nil, witness.ErrNoQuorum
	}
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	resp, err := n.links.call(ctx, node, method, req)
	if err != nil {
		return nil, asNoQuorum(err, "witness %q did not answer: %v", node, err)
	}
	return resp, nil
}

func (n *Node) serveCalls(conn net.Conn, from string) { serveCalls(conn, from, n.handlers.get) }
