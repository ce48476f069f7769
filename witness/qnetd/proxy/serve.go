package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// writeTime is how long qdevice may take to read a message.
const writeTime = 5 * time.Second

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
	ups    map[int]*up
}

// up is a connection to a witness, or one on its way.
type up struct {
	cancel context.CancelFunc
	conn   *client.Conn
}

// Serve serves one connection of qdevice until it, the lease or the context
// ends, and closes it.
func (p *Proxy) Serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	s := &serving{
		p: p, core: New(Config{Cluster: p.Cluster, Witnesses: len(p.Witnesses), Lease: p.Lease}, 0), start: time.Now(),
		local: nc, ctx: ctx, events: make(chan Event, 16), ups: map[int]*up{},
	}
	defer func() {
		_ = nc.Close()
		for _, u := range s.ups {
			u.close()
		}
		cancel()
	}()
	go s.readLocal()
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
		}
		for _, a := range s.core.Step(time.Since(s.start), e) {
			s.do(a)
		}
	}
}

func (s *serving) do(a Action) {
	switch a := a.(type) {
	case SendLocal:
		raw, err := wire.Append(nil, a.Message)
		if err == nil {
			_ = s.local.SetWriteDeadline(time.Now().Add(writeTime))
			_, err = s.local.Write(raw)
		}
		if err != nil {
			s.late = append(s.late, LocalClosed{"cannot write to corosync-qdevice: " + err.Error()})
		}
	case CloseLocal:
		s.p.Log.Info("corosync-qdevice's connection ends", "why", a.Why)
		_ = s.local.Close()
	case Dial:
		ctx, cancel := context.WithTimeout(s.ctx, s.p.Lease)
		s.ups[a.ID] = &up{cancel: cancel}
		go s.dial(ctx, a)
	case SendUp:
		u := s.ups[a.ID]
		if u == nil || u.conn == nil {
			return // its end is on its way to the core
		}
		if err := u.conn.Send(a.Message); err != nil {
			s.late = append(s.late, UpClosed{a.ID, err.Error()})
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
