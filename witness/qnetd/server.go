package qnetd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"quorate/witness"
)

// Node is what the server needs of the replicated log.
type Node interface {
	Name() string
	State() *witness.State
	// Changed is closed when a newer state than the one now returned by State
	// is published.
	Changed() <-chan struct{}
	// Leader returns the name of the leader as far as it is known here, or "".
	Leader() (name string, id uint64)
	IsLeader() bool
	// VerifyLeader returns nil only if a quorum confirmed, after the call, that
	// this node leads.
	VerifyLeader(ctx context.Context) error
	// Propose commits a command through whoever leads; ProposeLocal only if this
	// node does. Neither is ever repeated.
	Propose(ctx context.Context, c witness.Command) (witness.Result, error)
	ProposeLocal(ctx context.Context, c witness.Command) (witness.Result, error)
	// Call asks another witness, or this one, by an internal call.
	Call(ctx context.Context, node, method string, req []byte) ([]byte, error)
}

// AliveMethod is the internal call by which an owner tells the leader that it
// lives. Whoever makes a Server has [Server.Alive] answer it.
const AliveMethod = "qnetd.alive"

// Limits bound what clients can make a witness hold; zero means the default.
type Limits struct {
	Clients         int // connections in all; default 20000
	Strangers       int // connections without a session; default 4096
	StrangersOfHost int // of those, from one address; default 1024
}

// Server serves the clients of one witness. Fill in the exported fields, then
// call Open and Run once each.
type Server struct {
	Listen string // host:port
	Node   Node
	Log    *slog.Logger
	TLS    TLS
	Limits Limits
	// Contact is how old the last confirmed contact with the leader may be for
	// echoes to be answered. It must be longer than an election.
	Contact time.Duration

	boot     uint64
	addr     string
	pipe     *pipeline
	keeper   keeper
	contact  contact
	started  time.Time
	metrics  metrics
	sessions struct {
		sync.Mutex
		next uint64
		over bool                // no more are taken
		all  map[uint64]*session // every connection
	}
	strangers strangers
	quiet     quiet
	work      sync.WaitGroup
}

// Open checks that the address can be listened on. Nothing is served before Run,
// and then only while the witness has a leader: a client that is refused turns to
// the next witness, one that waits does not.
func (s *Server) Open() error {
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("qnetd cannot listen on %s: is the address on this machine, and is another program there? %w", s.Listen, err)
	}
	s.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	s.boot = binary.LittleEndian.Uint64(b[:])>>1 | 1
	s.sessions.all = map[uint64]*session{}
	s.pipe = newPipeline(s)
	if s.Limits.Clients == 0 {
		s.Limits.Clients = 20000
	}
	s.strangers.limit, s.strangers.ofHost = s.Limits.Strangers, s.Limits.StrangersOfHost
	s.strangers.defaults()
	s.keeper.node, s.keeper.log, s.keeper.contact = s.Node, s.Log, s.Contact
	s.contact.limit = s.Contact
	s.metrics = newMetrics(s)
	return nil
}

// Addr returns the address that is listened on, once Open has returned.
func (s *Server) Addr() string { return s.addr }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	s.started = time.Now()
	g.Go(func() error { return s.report(ctx) })
	g.Go(func() error { return s.gate(ctx) })
	g.Go(func() error { return s.pipe.run(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.reconcile(ctx) })
	g.Go(func() error { return s.keeper.run(ctx) })
	err := g.Wait()
	s.sessions.Lock()
	s.sessions.over = true
	s.sessions.Unlock()
	s.dropAll("this witness stops")
	s.work.Wait()
	return err
}

// gateTick is how often the age of the contact is looked at.
const gateTick = 50 * time.Millisecond

// gate listens while this witness is in contact with the leader, and neither
// listens nor keeps a connection otherwise.
func (s *Server) gate(ctx context.Context) error {
	tick := time.NewTicker(gateTick)
	defer tick.Stop()
	var l net.Listener
	stop := func() {
		if l != nil {
			_ = l.Close()
			l = nil
		}
	}
	defer stop()
	for {
		switch fresh := s.contact.fresh(); {
		case fresh && l == nil:
			opened, err := net.Listen("tcp", s.addr)
			if err != nil {
				s.quiet.warn(s.Log, "listen", "qnetd cannot listen; it tries again", "addr", s.addr, "err", err)
				break
			}
			l = opened
			s.Log.Info("qnetd is served", "addr", s.addr, "tls", s.TLS.Mode)
			s.work.Go(func() { s.accept(opened) })
		case !fresh && l != nil:
			stop()
			s.Log.Warn("no confirmed contact with the leader: qnetd refuses connections and ends its sessions", "limit", s.Contact)
			s.dropAll("no contact with the leader")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.quiet.warn(s.Log, "accept", "qnetd cannot accept a connection", "err", err)
			time.Sleep(20 * time.Millisecond) // out of file descriptors, for example
			continue
		}
		s.metrics.accepted.Inc()
		ses, ok := s.admit(conn)
		if !ok {
			_ = conn.Close()
			continue
		}
		s.work.Go(ses.serve)
	}
}

// admit makes a session of a connection, or says that there are too many.
func (s *Server) admit(conn net.Conn) (*session, bool) {
	s.sessions.Lock()
	defer s.sessions.Unlock()
	if s.sessions.over {
		return nil, false
	}
	if len(s.sessions.all) >= s.Limits.Clients {
		s.quiet.warn(s.Log, "clients", "qnetd refuses connections: too many are open", "limit", s.Limits.Clients)
		return nil, false
	}
	s.sessions.next++
	ses := newSession(s, conn, s.sessions.next)
	s.sessions.all[ses.conn] = ses
	s.strangers.add(ses)
	return ses, true
}

// forget ends the life of a session here.
func (s *Server) forget(ses *session) { // a session of the log: once the log knows of its end
	s.strangers.remove(ses)
	s.sessions.Lock()
	delete(s.sessions.all, ses.conn)
	s.sessions.Unlock()
}

// list returns all sessions.
func (s *Server) list() []*session {
	s.sessions.Lock()
	defer s.sessions.Unlock()
	out := make([]*session, 0, len(s.sessions.all))
	for _, ses := range s.sessions.all {
		out = append(out, ses)
	}
	return out
}

func (s *Server) has(conn uint64) bool {
	s.sessions.Lock()
	defer s.sessions.Unlock()
	_, ok := s.sessions.all[conn]
	return ok
}

func (s *Server) dropAll(why string) {
	for _, ses := range s.list() {
		ses.drop(witness.GoneDropped, why)
	}
}

// Clients returns how many clients have a session here.
func (s *Server) Clients() int {
	n := 0
	for _, ses := range s.list() {
		if ses.known.Load() {
			n++
		}
	}
	return n
}

// quiet keeps a message that repeats to one a minute.
type quiet struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const quietTime = time.Minute

func (q *quiet) warn(log *slog.Logger, key, msg string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if q.last == nil || len(q.last) > 1000 {
		q.last = map[string]time.Time{}
	}
	if at, ok := q.last[key]; ok && now.Sub(at) < quietTime {
		return
	}
	q.last[key] = now
	log.Warn(msg, args...)
}
