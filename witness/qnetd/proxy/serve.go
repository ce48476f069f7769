package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// A peer that does not read is closed after this time, or this many messages. The
// session does not wait for it: its lease may end meanwhile.
const (
	writeTime = 5 * time.Second
	lastTime  = 200 * time.Millisecond // for what is left when the session ends
	maxQueue  = 32
)

// connected brings a connection to a witness to the session that dialled it.
type connected struct {
	Ready
	conn *client.Conn
}

// serving is one connection of qdevice: the core, and the sockets for it.
type serving struct {
	p      *Proxy
	core   *Core
	start  time.Time
	local  net.Conn
	ctx    context.Context // ends with the session; its goroutines with it
	events chan Event
	late   []Event // of the session's own making: handled before others
	out    chan wire.Message
	ups    map[int]*up

	mu    sync.Mutex
	limit time.Duration // of one write to qdevice
}

// up is a connection to a witness, or one on its way.
type up struct {
	cancel context.CancelFunc // ends what the connection has of goroutines
	ctx    context.Context
	conn   *client.Conn
	out    chan wire.Message
}

// Serve serves one connection of qdevice until it, the lease or the context
// ends, and closes it.
func (p *Proxy) Serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	s := &serving{
		p: p, core: New(Config{Cluster: p.Cluster, Witnesses: len(p.Witnesses), Lease: p.Lease}, 0), start: time.Now(),
		local: nc, ctx: ctx, events: make(chan Event, 16), out: make(chan wire.Message, maxQueue), ups: map[int]*up{},
		limit: writeTime,
	}
	go s.readLocal()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.writeLocal()
	}()
	defer func() {
		// qdevice first: it gives the vote up when it notices.
		cancel()
		s.mu.Lock()
		s.limit = lastTime
		_ = nc.SetWriteDeadline(time.Now().Add(lastTime))
		s.mu.Unlock()
		close(s.out)
		<-written
		_ = nc.Close()
		for _, u := range s.ups {
			u.close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !s.core.Done() {
		timer.Reset(s.core.Next() - time.Since(s.start))
		var e Event
		switch {
		case len(s.late) > 0:
			e, s.late = s.late[0], s.late[1:]
		default:
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			case e = <-s.events:
			}
		}
		if c, is := e.(connected); is {
			u := s.ups[c.ID]
			if u == nil { // not wanted any more
				_ = c.conn.Close()
				continue
			}
			u.conn, e = c.conn, c.Ready
			go s.readUp(c.ID, c.conn)
			go s.write(u.ctx, u.out, c.conn.Send, func(err error) Event { return UpClosed{c.ID, err.Error()} })
		}
		for _, a := range s.core.Step(time.Since(s.start), e) {
			s.do(a)
		}
	}
}

func (s *serving) do(a Action) {
	switch a := a.(type) {
	case SendLocal:
		if !queue(s.out, a.Message) {
			s.late = append(s.late, LocalClosed{"corosync-qdevice does not read what it is sent"})
		}
	case CloseLocal:
		s.p.Log.Info("corosync-qdevice's connection ends", "why", a.Why)
	case Dial:
		ctx, cancel := context.WithCancel(s.ctx)
		s.ups[a.ID] = &up{cancel: cancel, ctx: ctx, out: make(chan wire.Message, maxQueue)}
		go s.dial(ctx, a)
	case SendUp:
		if u := s.ups[a.ID]; u != nil && !queue(u.out, a.Message) {
			s.late = append(s.late, UpClosed{a.ID, "it does not read what it is sent"})
		}
	case CloseUp:
		if u := s.ups[a.ID]; u != nil {
			u.close()
			delete(s.ups, a.ID)
		}
	case Note:
		if a.Bad {
			s.p.Log.Warn(a.Text, "witnesses", s.p.Witnesses)
		} else {
			s.p.Log.Info(a.Text, "witnesses", s.p.Witnesses)
		}
	}
}

// queue is false if too much is waiting already.
func queue(to chan<- wire.Message, m wire.Message) bool {
	select {
	case to <- m:
		return true
	default:
		return false
	}
}

// write sends what is queued, and reports the first failure.
func (s *serving) write(ctx context.Context, from <-chan wire.Message, send func(wire.Message) error, failed func(error) Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-from:
			if err := send(m); err != nil {
				s.post(failed(err))
				return
			}
		}
	}
}

// writeLocal sends what is queued for qdevice until the queue is closed.
func (s *serving) writeLocal() {
	for m := range s.out {
		raw, err := wire.Append(nil, m)
		if err == nil {
			s.mu.Lock()
			_ = s.local.SetWriteDeadline(time.Now().Add(s.limit))
			s.mu.Unlock()
			_, err = s.local.Write(raw)
		}
		if err != nil {
			s.post(LocalClosed{"cannot write to corosync-qdevice: " + err.Error()})
			for range s.out { // nothing more can be said
			}
			return
		}
	}
}

func (u *up) close() {
	u.cancel()
	if u.conn != nil {
		_ = u.conn.Close()
	}
}

// post hands an event to the session, unless that has ended.
func (s *serving) post(e Event) bool {
	select {
	case s.events <- e:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *serving) readLocal() {
	r := wire.NewReader(s.local, wire.MaxMessage)
	for {
		f, err := r.Next()
		var m wire.Message
		if err == nil {
			m, err = wire.Decode(f)
		}
		switch {
		case errors.Is(err, io.EOF):
			s.post(LocalClosed{"corosync-qdevice has closed it"})
			return
		case err != nil:
			s.post(LocalClosed{"corosync-qdevice: " + err.Error()})
			return
		}
		if !s.post(LocalMessage{m}) {
			return
		}
	}
}

func (s *serving) dial(ctx context.Context, a Dial) {
	ctx, cancel := context.WithTimeout(ctx, s.p.Lease)
	defer cancel()
	nc, err := s.p.Dial(ctx, s.p.Witnesses[a.Witness])
	var conn *client.Conn
	if err == nil {
		conn, err = client.Handshake(ctx, nc, s.p.Cluster, s.p.TLS, 1)
	}
	if err != nil {
		s.post(UpClosed{a.ID, err.Error()})
		return
	}
	if !s.post(connected{Ready{a.ID}, conn}) {
		_ = conn.Close()
	}
}

func (s *serving) readUp(id int, conn *client.Conn) {
	for {
		m, err := conn.Receive()
		if err != nil {
			s.post(UpClosed{id, err.Error()})
			return
		}
		if !s.post(UpMessage{id, m}) {
			return
		}
	}
}
