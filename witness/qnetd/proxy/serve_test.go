package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"quorate/test/qdevice"
	"quorate/witness/qnetd/wire"
)

// scripted is a witness that has the vote of one node in its hand: it answers as
// the protocol asks, and gives what the test tells it to. The real one is met in
// test/qdevice, where time is real as well.
type scripted struct {
	mu    sync.Mutex
	mode  mode
	vote  wire.Vote
	conns []net.Conn
	inits int
	told  []wire.VoteInfoReply
}

type mode int

const (
	works   mode = iota
	refuses      // its process is gone
	silent       // it is behind a black hole: nothing is answered, nothing ends
)

func (s *scripted) set(m mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
	if m == refuses {
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.conns = nil
	}
}

func (s *scripted) is() (mode, wire.Vote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode, s.vote
}

func (s *scripted) dial(ctx context.Context) (net.Conn, error) {
	switch m, _ := s.is(); m {
	case refuses:
		return nil, syscall.ECONNREFUSED
	case silent:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	s.mu.Lock()
	s.conns = append(s.conns, far)
	s.mu.Unlock()
	go s.serve(far)
	return near, nil
}

func (s *scripted) serve(nc net.Conn) {
	defer nc.Close()
	r := wire.NewReader(nc, wire.MaxMessage)
	var ring wire.RingID
	var voteSeq uint32
	for {
		f, err := r.Next()
		if err != nil {
			return
		}
		m, err := wire.Decode(f)
		if err != nil {
			return
		}
		mode, vote := s.is()
		if mode == silent {
			continue
		}
		var out []wire.Message
		switch m := m.(type) {
		case wire.Preinit:
			out = append(out, wire.PreinitReply{Seq: m.Seq, TLS: wire.TLSUnsupported})
		case wire.Init:
			s.mu.Lock()
			s.inits++
			s.mu.Unlock()
			ring = m.Ring
			out = append(out, reply(m.Seq, m.Hold))
		case wire.SetOption:
			out = append(out, wire.SetOptionReply(m))
		case wire.EchoRequest:
			out = append(out, m.Reply())
		case wire.NodeList:
			if m.List == wire.ListMembership {
				ring = m.Ring
			}
			out = append(out, wire.NodeListReply{Seq: m.Seq, List: m.List, Ring: ring, Vote: wire.NoChange})
			if m.List == wire.ListMembership {
				voteSeq++
				out = append(out, wire.VoteInfo{Seq: voteSeq, Vote: vote, Ring: ring})
			}
		case wire.VoteInfoReply:
			s.mu.Lock()
			s.told = append(s.told, m)
			s.mu.Unlock()
		}
		for _, o := range out {
			raw, _ := wire.Append(nil, o)
			if _, err := nc.Write(raw); err != nil {
				return
			}
		}
	}
}

// node is a qdevice, a proxy, and three witnesses.
type node struct {
	device    *qdevice.Device
	witnesses [3]*scripted
	stop      func()
}

// setUp must be called in a bubble.
func setUp(t *testing.T, vote wire.Vote) *node {
	n := &node{}
	for i := range n.witnesses {
		n.witnesses[i] = &scripted{vote: vote}
	}
	names := []string{"w1:1", "w2:1", "w3:1"}
	p := &Proxy{
		Witnesses: names, Cluster: "lab", Lease: DefaultLease, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return n.witnesses[slices.Index(names, address)].dial(ctx)
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	n.device = qdevice.New("lab", 1, []uint32{1, 2}, "proxy")
	n.device.Pause = func() time.Duration { return time.Second }
	n.device.Dial = func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		work.Go(func() { p.Serve(ctx, far) })
		return near, nil
	}
	work.Go(func() {
		if err := n.device.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	n.stop = func() {
		cancel()
		for _, w := range n.witnesses {
			w.set(refuses)
		}
		work.Wait()
	}
	return n
}

// at tells which witness has the session: the one that was asked last.
func (n *node) at() int {
	for i, w := range n.witnesses {
		w.mu.Lock()
		inits, mode := w.inits, w.mode
		w.inits = 0
		w.mu.Unlock()
		if inits > 0 && mode == works {
			return i
		}
	}
	return -1
}

func TestWitnessDies(t *testing.T) {
	for name, how := range map[string]mode{"refused": refuses, "black-holed": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := setUp(t, wire.ACK)
				defer n.stop()
				time.Sleep(20 * time.Second)
				for range 20 { // each time the witness that has the session, at another moment
					if got := n.device.Cast(); got.Vote != wire.ACK || n.device.Sessions() != 1 {
						t.Fatalf("%+v, %d sessions", got, n.device.Sessions())
					}
					lost := n.at()
					if lost < 0 {
						t.Fatal("no witness has the session")
					}
					n.witnesses[lost].set(how)
					time.Sleep(15*time.Second + 321*time.Millisecond)
					n.witnesses[lost].set(works)
				}
			})
		})
	}
}

func TestAllWitnessesDie(t *testing.T) {
	for name, how := range map[string]mode{"refused": refuses, "black-holed": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := setUp(t, wire.ACK)
				defer n.stop()
				time.Sleep(20 * time.Second)
				for _, w := range n.witnesses {
					w.set(how)
				}
				time.Sleep(DefaultLease + time.Millisecond) // counted from a request before
				synctest.Wait()
				if got := n.device.Cast(); got.Vote != wire.NACK {
					t.Errorf("beyond the lease: %+v", got)
				}
				for _, w := range n.witnesses {
					w.set(works)
				}
				time.Sleep(10 * time.Second)
				if got := n.device.Cast(); got.Vote != wire.ACK || n.device.Sessions() != 2 {
					t.Errorf("with the witnesses back: %+v, %d sessions", got, n.device.Sessions())
				}
			})
		})
	}
}

// TestNACKReachesTheNode over a take-over, and its answer reaches the witness.
func TestNACKReachesTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := setUp(t, wire.ACK)
		defer n.stop()
		time.Sleep(20 * time.Second)
		lost := n.at()
		for i, w := range n.witnesses {
			w.mu.Lock()
			w.told = nil
			if i != lost {
				w.vote = wire.NACK
			}
			w.mu.Unlock()
		}
		n.witnesses[lost].set(refuses)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := n.device.Cast(); got.Vote != wire.NACK || n.device.Sessions() != 1 {
			t.Errorf("%+v, %d sessions", got, n.device.Sessions())
		}
		told := 0
		for _, w := range n.witnesses {
			told += len(w.told)
		}
		if told != 1 {
			t.Errorf("the NACK was answered %d times", told)
		}
	})
}

// TestAbuse: what a local process may send does not stop the proxy, and ends at
// its own connection.
func TestAbuse(t *testing.T) {
	huge, _ := wire.Append(nil, wire.Preinit{Seq: 1, Cluster: "lab"})
	for name, raw := range map[string][]byte{
		"junk":      []byte("GET / HTTP/1.0\r\n\r\n"),
		"oversized": {0, 10, 0xff, 0xff, 0xff, 0xff},
		"unknown":   {0, 99, 0, 0, 0, 4, 0, 0, 0, 0},
		"empty":     {0, 0, 0, 0, 0, 0},
		"truncated": huge[:len(huge)-1],
		"silence":   nil,
		"half":      huge,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Proxy{
					Witnesses: []string{"w1:1"}, Cluster: "lab", Lease: DefaultLease, Log: slog.New(slog.DiscardHandler),
					Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("not in this test") },
				}
				near, far := net.Pipe()
				done := make(chan struct{})
				go func() {
					p.Serve(t.Context(), far)
					close(done)
				}()
				go func() { _, _ = io.Copy(io.Discard, near) }()
				_, _ = near.Write(raw)
				<-done // within the time that a handshake may take, or the bubble is stuck
				_ = near.Close()
			})
		})
	}
}

func TestOpenNamesAllFaults(t *testing.T) {
	p := &Proxy{Listen: "0.0.0.0:5403", Witnesses: []string{"w1"}, Lease: time.Hour}
	err := p.Open()
	if err == nil {
		t.Fatal("opened")
	}
	for _, want := range []string{"loopback", "host:port", "no name", "lease"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
