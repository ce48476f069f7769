package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conn is one end of a connection.
type Conn struct {
	net           *Net
	local, remote string
	in, out       *stream
	once          sync.Once
}

var _ net.Conn = (*Conn)(nil)

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements net.Conn. It never blocks: the buffer is not bounded.
func (c *Conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions. The other side reads what was written, then EOF;
// across a cut link it learns of it when the link is healed.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.net.mu.Lock()
		delete(c.net.conns, c)
		c.net.mu.Unlock()
		c.out.closeWrite()
		c.in.closeRead()
	})
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return Addr(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return Addr(c.remote) }

// SetDeadline implements net.Conn. Only reads can block, so only they expire.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex
	change   chan struct{} // closed and replaced whenever anything below changes
	buf      []byte
	held     bool // the link is cut
	wclosed  bool
	rclosed  bool
	deadline time.Time
}

func newStream() *stream { return &stream{change: make(chan struct{})} }

// update changes the stream and wakes its reader.
func (s *stream) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.change)
	s.change = make(chan struct{})
}

func (s *stream) hold(held bool)           { s.update(func() { s.held = held }) }
func (s *stream) closeWrite()              { s.update(func() { s.wclosed = true }) }
func (s *stream) closeRead()               { s.update(func() { s.rclosed = true; s.buf = nil }) }
func (s *stream) setDeadline(at time.Time) { s.update(func() { s.deadline = at }) }

func (s *stream) write(b []byte) (n int, err error) {
	s.update(func() {
		switch {
		case s.wclosed:
			err = net.ErrClosed
		case s.rclosed && !s.held:
			err = io.ErrClosedPipe
		default:
			s.buf = append(s.buf, b...)
			n = len(b)
		}
	})
	return n, err
}

func (s *stream) read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.rclosed:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case !s.held && len(s.buf) > 0:
			n := copy(b, s.buf)
			s.buf = s.buf[n:]
			s.mu.Unlock()
			return n, nil
		case !s.held && s.wclosed:
			s.mu.Unlock()
			return 0, io.EOF
		}
		change, deadline := s.change, s.deadline
		s.mu.Unlock()
		var expired <-chan time.Time
		var timer *time.Timer
		if !deadline.IsZero() {
			wait := time.Until(deadline)
			if wait <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			timer = time.NewTimer(wait)
			expired = timer.C
		}
		select {
		case <-change:
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		}
		if timer != nil {
			timer.Stop()
		}
	}
}
