package memnet

import (
	"io"
	"net"
	"os"
	"slices"
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
	buf      []chunk
	delay    func() time.Duration // nil = none
	arrival  time.Time            // of the last chunk: they stay in order
	held     bool                 // the link is cut
	wclosed  bool
	rclosed  bool
	deadline time.Time
}

// chunk is what one write put on the wire.
type chunk struct {
	data []byte
	at   time.Time // when it arrives
}

func newStream() *stream { return &stream{change: make(chan struct{})} }

// arrives returns when something sent now arrives. The lock is held.
func (s *stream) arrives() time.Time {
	now := time.Now()
	if s.delay != nil {
		now = now.Add(s.delay())
	}
	if now.Before(s.arrival) {
		now = s.arrival
	}
	s.arrival = now
	return now
}

// update changes the stream and wakes its reader.
func (s *stream) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.change)
	s.change = make(chan struct{})
}

func (s *stream) hold(held bool)              { s.update(func() { s.held = held }) }
func (s *stream) closeWrite()                 { s.update(func() { s.wclosed = true; s.arrives() }) }
func (s *stream) closeRead()                  { s.update(func() { s.rclosed = true; s.buf = nil }) }
func (s *stream) slow(f func() time.Duration) { s.update(func() { s.delay = f }) }
func (s *stream) setDeadline(at time.Time)    { s.update(func() { s.deadline = at }) }

func (s *stream) write(b []byte) (n int, err error) {
	s.update(func() {
		switch {
		case s.wclosed:
			err = net.ErrClosed
		case s.rclosed && !s.held:
			err = io.ErrClosedPipe
		default:
			s.buf = append(s.buf, chunk{slices.Clone(b), s.arrives()})
			n = len(b)
		}
	})
	return n, err
}

func (s *stream) read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		n, wait, err := s.take(b)
		change := s.change
		s.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		if wait < 0 {
			<-change
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-change:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take copies what has arrived, or says how long to wait for the next thing to
// happen; below zero means for good. The lock is held.
func (s *stream) take(b []byte) (n int, wait time.Duration, err error) {
	now := time.Now()
	wait = -1
	switch {
	case s.rclosed:
		return 0, 0, net.ErrClosed
	case s.held:
	case len(s.buf) > 0:
		if wait = s.buf[0].at.Sub(now); wait > 0 {
			break
		}
		n = copy(b, s.buf[0].data)
		if s.buf[0].data = s.buf[0].data[n:]; len(s.buf[0].data) == 0 {
			s.buf = s.buf[1:]
		}
		return n, 0, nil
	case s.wclosed:
		if wait = s.arrival.Sub(now); wait <= 0 {
			return 0, 0, io.EOF
		}
	}
	if s.deadline.IsZero() {
		return 0, wait, nil
	}
	left := s.deadline.Sub(now)
	if left <= 0 {
		return 0, 0, os.ErrDeadlineExceeded
	}
	if wait < 0 || left < wait {
		wait = left
	}
	return 0, wait, nil
}
