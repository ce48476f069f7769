package qnetd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/wire"
)

// soleNode is a log of one witness: every entry is committed at once. It leads as
// long as leads is true.
type soleNode struct {
	mu      sync.Mutex
	state   *witness.State
	changed chan struct{}
	start   time.Time
	leads   bool
	term    uint64
	late    time.Duration // between a new state and the answer to who proposed it
	longest int           // bytes of an entry
	alive   func(ctx context.Context, from string, req []byte) ([]byte, error)
}

var _ Node = (*soleNode)(nil)

var errNobody = errors.New("nobody leads")

func newSoleNode() *soleNode {
	return &soleNode{state: witness.New(), changed: make(chan struct{}), start: time.Now(), leads: true, term: 1}
}

func (n *soleNode) Name() string { return "w1" }

func (n *soleNode) State() *witness.State { n.mu.Lock(); defer n.mu.Unlock(); return n.state }

func (n *soleNode) Changed() <-chan struct{} { n.mu.Lock(); defer n.mu.Unlock(); return n.changed }

func (n *soleNode) IsLeader() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.leads }

func (n *soleNode) Leader() (string, uint64) {
	if n.IsLeader() {
		return "w1", 1
	}
	return "", 0
}

func (n *soleNode) VerifyLeader(context.Context) error {
	if n.IsLeader() {
		return nil
	}
	return errNobody
}

func (n *soleNode) Call(ctx context.Context, _, _ string, req []byte) ([]byte, error) {
	if !n.IsLeader() {
		return nil, errNobody
	}
	return n.alive(ctx, "w1", req)
}

func (n *soleNode) Propose(_ context.Context, c witness.Command) (witness.Result, error) {
	n.mu.Lock()
	defer func() {
		late := n.late
		n.mu.Unlock()
		time.Sleep(late)
	}()
	if !n.leads {
		return witness.Result{}, witness.ErrNoQuorum
	}
	stamp := witness.Stamp{Time: time.Since(n.start)}
	raw, err := witness.EncodeCommand(c, stamp)
	if err != nil {
		return witness.Result{}, err
	}
	n.longest = max(n.longest, len(raw))
	next, res, _ := n.state.Apply(witness.Entry{Index: n.state.Index + 1, Term: n.term, Stamp: stamp, Cmd: c})
	n.state = next
	close(n.changed)
	n.changed = make(chan struct{})
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (n *soleNode) ProposeLocal(ctx context.Context, c witness.Command) (witness.Result, error) {
	return n.Propose(ctx, c)
}

// lead makes the witness the leader of a new term, or of none.
func (n *soleNode) lead(on bool) {
	n.mu.Lock()
	n.leads = on
	n.term++
	n.mu.Unlock()
	if on {
		_, _ = n.Propose(context.Background(), witness.Touch{})
	}
}

// serve runs a server on loopback for the cluster "labcluster" of nodes 1 and 2.
func serve(t *testing.T, edit func(*Server)) (*Server, *soleNode) {
	t.Helper()
	n := newSoleNode()
	if _, err := n.Propose(t.Context(), witness.Configure{By: "test", Config: witness.Config{
		Hosts: []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}, {Name: "h2", Addresses: []string{"10.0.0.2"}}},
		Clusters: []witness.ClusterSpec{{Name: "lab", Kind: witness.KindCorosync, Qnetd: "labcluster", Members: []witness.MemberSpec{
			{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 2},
		}}},
	}}); err != nil {
		t.Fatal(err)
	}
	s := &Server{Listen: "127.0.0.1:0", Node: n, Log: slog.New(slog.DiscardHandler), TLS: TLS{Mode: TLSOff}, Contact: 2 * time.Second}
	if edit != nil {
		edit(s)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	n.alive = s.Alive
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	until(t, "the port is open", func() bool {
		c, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s, n
}

// until waits for something; a minute is enough on the busiest machine.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

// peer is a client that says what it likes.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *wire.Reader
}

func dial(t *testing.T, s *Server) *peer {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &peer{t: t, conn: c, r: wire.NewReader(c, wire.MaxMessage)}
}

func (p *peer) raw(b ...byte) *peer {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
	return p
}

func (p *peer) say(ms ...wire.Message) *peer {
	p.t.Helper()
	for _, m := range ms {
		raw, err := wire.Append(nil, m)
		if err != nil {
			p.t.Fatal(err)
		}
		p.raw(raw...)
	}
	return p
}

// hear returns the next message, or nil at the end of the connection.
func (p *peer) hear() wire.Message {
	p.t.Helper()
	f, err := p.r.Next()
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			p.t.Fatal("the server says nothing for a minute")
		}
		return nil
	}
	m, err := wire.Decode(f)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// hearUntil drops messages until one of a type comes.
func hearUntil[M wire.Message](p *peer) M {
	p.t.Helper()
	for {
		switch m := p.hear().(type) {
		case M:
			return m
		case nil:
			p.t.Fatalf("the connection ended; a %T was to come", *new(M))
		}
	}
}

func preinit() wire.Message { return wire.Preinit{Seq: 1, Cluster: "labcluster"} }

func initOf(node uint32) wire.Init {
	return wire.Init{
		Seq: 2, Messages: wire.Types(), Options: wire.Options(), NodeID: node, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: 8000,
		TieBreaker: wire.TieBreaker{Mode: wire.TieLowest}, Ring: wire.RingID{NodeID: 1, Seq: 9},
	}
}

// join makes a whole session of a node.
func join(t *testing.T, s *Server, node uint32) *peer {
	t.Helper()
	p := dial(t, s)
	p.say(preinit(), initOf(node))
	hearUntil[wire.PreinitReply](p)
	if r := hearUntil[wire.InitReply](p); r.Code != wire.NoError {
		t.Fatalf("INIT of node %d: %v", node, r.Code)
	}
	return p
}

func members(seq uint32, ring wire.RingID, ids ...uint32) wire.NodeList {
	l := wire.NodeList{Seq: seq, List: wire.ListMembership, Ring: ring}
	for _, id := range ids {
		l.Nodes = append(l.Nodes, wire.NodeInfo{NodeID: id})
	}
	return l
}

func config(seq uint32) wire.NodeList {
	return wire.NodeList{Seq: seq, List: wire.ListInitialConfig, Nodes: []wire.NodeInfo{{NodeID: 1}, {NodeID: 2}}}
}
