package qnetd

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/wire"
	"quorate/witness/vote"
)

// Bounds of one connection.
const (
	strangerMax  = 30 * time.Second // a connection without a session lives no longer
	handshakeMax = 10 * time.Second
	refusedMax   = 2 * time.Second // to read why INIT was refused
	writeMax     = 5 * time.Second
	outMax       = 32 // messages to a client that does not read; as in corosync-qnetd
	inMax        = 32 // messages of a client that wait for the log
	heartbeatMin = 1000
	heartbeatMax = 120000 // ms
)

// session is one connection of a client.
type session struct {
	s      *Server
	conn   uint64
	remote netip.Addr
	addr   string
	place  *list.Element // among the strangers; their lock

	// Of the goroutine that reads.
	raw        net.Conn
	tls        *tls.Conn
	under      *finConn // below it
	preinit    bool
	name       string // corosync's name of the cluster
	init       bool   // an INIT was sent on to the log
	keepActive bool
	hold       bool

	cluster string // as declared; set before known
	node    uint32
	known   atomic.Bool   // the log has the session
	born    atomic.Uint64 // the entry that made it
	hb      atomic.Uint32
	waiting atomic.Int32 // messages in the pipeline

	out     chan outgoing
	closing sync.Once
	ended   atomic.Pointer[ending]

	queue sync.Mutex // held while a message is numbered and queued
	op    uint64     // its last number

	mu      sync.Mutex
	sent    uint32    // number of the last VOTE_INFO that was sent
	sentAs  vote.Vote // and what it was
	heardAt time.Time // last message
	looked  *witness.Cluster
	answers uint64 // number of the newest message whose answer is on its way
	timing  bool   // a timer of stock lms runs
}

type outgoing struct {
	raw  []byte
	echo bool // to be sent only while the contact with the leader is fresh
}

type ending struct{ cause, why string }

func newSession(s *Server, conn net.Conn, number uint64) *session {
	ses := &session{s: s, conn: number, raw: conn, addr: conn.RemoteAddr().String(), out: make(chan outgoing, outMax), heardAt: time.Now()}
	if ap, err := netip.ParseAddrPort(ses.addr); err == nil {
		ses.remote = ap.Addr().Unmap().WithZone("")
	}
	return ses
}

// drop ends the connection for a reason of ours. The first reason counts.
func (c *session) drop(cause, why string) {
	c.closing.Do(func() {
		c.ended.Store(&ending{cause, why})
		_ = c.raw.Close() // ends the reader
	})
}

// serve reads until the connection ends, and tells the log how it ended.
func (c *session) serve() {
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(done) })
	cause, why := c.read()
	c.drop(cause, why)
	close(done)
	writer.Wait()
	end := c.ended.Load()
	if c.init { // it stays known here until the log knows of its end
		c.s.Log.Info("qdevice client is gone", "cluster", c.cluster, "node", c.node, "remote", c.addr, "cause", end.cause, "why", end.why)
		c.submit(witness.QnetdOp{Kind: witness.QnetdDown, Cause: end.cause}, nil)
		return
	}
	c.s.forget(c)
	if end.why != "" {
		c.s.quiet.warn(c.s.Log, "stranger "+c.remote.String()+end.why, "qdevice client without a session is gone", "remote", c.addr, "cluster", c.name, "why", end.why)
	}
}

// read returns how the connection ended.
func (c *session) read() (cause, why string) {
	_ = c.raw.SetReadDeadline(time.Now().Add(strangerMax))
	var in io.Reader = c.raw
	r := wire.NewReader(in, wire.MaxMessage)
	for {
		f, err := r.Next()
		if err != nil {
			if code, ok := wire.CodeOf(err); ok { // too long, or of an unknown type
				c.send(wire.ServerError{Code: code})
				if r.Skip() == nil {
					c.alive()
					continue
				}
			}
			if c.under != nil && c.under.fin.Load() {
				return witness.GoneBroken, "its connection ended, and it did not say so: it was killed"
			}
			return endOf(err)
		}
		c.alive()
		c.s.metrics.received.Inc()
		end := c.handle(f)
		if end != nil {
			return end.cause, end.why
		}
		if f.Type == wire.TypeStartTLS && c.tls != nil {
			r = wire.NewReader(c.tls, wire.MaxMessage)
		}
	}
}

// endOf says how a connection ended from the error of reading it.
func endOf(err error) (cause, why string) {
	switch {
	case err == io.EOF: // in good order: under TLS only after the client said so
		return witness.GoneClosed, ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return witness.GoneExpired, "silent for too long"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return witness.GoneBroken, err.Error()
	}
	// A reset may be of a firewall, a bad record is our word alone: the client may
	// know nothing of it.
	return witness.GoneDropped, err.Error()
}

// alive restarts the time after which a silent client is dead.
func (c *session) alive() {
	now := time.Now()
	c.mu.Lock()
	c.heardAt = now
	c.mu.Unlock()
	if hb := c.hb.Load(); hb != 0 {
		_ = c.raw.SetReadDeadline(now.Add(witness.PeerLimit(hb)))
	}
}

// write sends what is queued until done is closed.
func (c *session) write(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case o := <-c.out:
			if o.echo && !c.s.contact.fresh() {
				c.drop(witness.GoneDropped, "no contact with the leader")
				return
			}
			c.mu.Lock()
			conn := c.raw
			if c.tls != nil {
				conn = c.tls
			}
			c.mu.Unlock()
			_ = c.raw.SetWriteDeadline(time.Now().Add(writeMax))
			if _, err := conn.Write(o.raw); err != nil {
				c.drop(witness.GoneDropped, err.Error())
				return
			}
		}
	}
}

// send queues a message; a client that does not read is cut off.
func (c *session) send(m wire.Message) {
	raw, err := wire.Append(nil, m)
	if err != nil {
		c.drop(witness.GoneDropped, "a message cannot be encoded: "+err.Error())
		return
	}
	_, echo := m.(wire.EchoReply)
	select {
	case c.out <- outgoing{raw, echo}:
		c.s.metrics.sent.Inc()
	default:
		c.drop(witness.GoneDropped, "the client does not read its messages")
	}
}

// startTLS makes the connection a TLS server on the same socket.
func (c *session) startTLS() error {
	c.under = &finConn{Conn: c.raw}
	conn := tls.Server(c.under, c.s.TLS.Config)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeMax)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.tls = conn
	c.mu.Unlock()
	return nil
}

// submit sends something on to the log; done may be nil.
func (c *session) submit(op witness.QnetdOp, done func(witness.QnetdReply)) {
	c.queue.Lock()
	defer c.queue.Unlock()
	op.Cluster, op.Node, op.Conn = c.cluster, c.node, c.conn
	if op.Kind != witness.QnetdInit && op.Kind != witness.QnetdDown {
		c.op++
		op.Op = c.op
	}
	c.waiting.Add(1)
	err := c.s.pipe.put(op, func(r witness.QnetdReply, index uint64, err error) {
		c.waiting.Add(-1)
		if op.Kind == witness.QnetdInit {
			c.born.Store(index)
		}
		if op.Kind == witness.QnetdDown {
			c.s.forget(c)
			return
		}
		switch {
		case err != nil:
			c.drop(witness.GoneDropped, "the log does not answer: "+err.Error())
		case done == nil:
		case r.Gone:
			c.drop(witness.GoneDropped, "the session is void: "+r.Why)
		default:
			done(r)
			c.replied(op.Op)
		}
	})
	if err != nil {
		c.waiting.Add(-1)
		c.drop(witness.GoneDropped, err.Error())
		if op.Kind == witness.QnetdDown {
			c.s.forget(c)
		}
	}
}
