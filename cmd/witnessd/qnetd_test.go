package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// ballot is three real witnesses in this process that serve the quorum device of
// one two-node cluster in plain text.
type ballot struct {
	*testing.T
	nodes [3]*Services
	stop  [3]func()
}

func startBallot(t *testing.T) *ballot {
	b := &ballot{T: t}
	peers := map[string]string{}
	for i := range 3 {
		peers[name(i)] = freeAddr(t)
	}
	for i := range 3 {
		cfg := Config{
			Node: name(i), Data: filepath.Join(t.TempDir(), name(i)), Peers: peers, Peer: PeerConfig{Listen: peers[name(i)]},
			HTTP: ListenConfig{Listen: "127.0.0.1:0"}, Qnetd: QnetdConfig{Listen: "127.0.0.1:0", TLS: "off"},
		}
		cfg.setDefaults()
		ctx, cancel := context.WithCancel(context.Background())
		ready, done := make(chan *Services, 1), make(chan error, 1)
		go func() {
			done <- Run(ctx, Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Ready: func(s *Services) { ready <- s }})
		}()
		b.stop[i] = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name(i), err)
			}
		})
		t.Cleanup(b.stop[i])
		b.nodes[i] = <-ready
	}
	b.eventually("the cluster is declared", func() error {
		_, err := b.nodes[0].Backend.Propose(t.Context(), witness.Configure{By: "test", Config: witness.Config{
			Hosts: []witness.Host{{Name: "h1", Addresses: []string{"127.0.0.1"}}, {Name: "h2", Addresses: []string{"127.0.0.2"}}},
			Clusters: []witness.ClusterSpec{{Name: "lab", Kind: witness.KindCorosync, Qnetd: "labcluster", Members: []witness.MemberSpec{
				{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 2},
			}}},
		}})
		return err
	})
	return b
}

func (b *ballot) eventually(what string, f func() error) {
	b.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	b.Fatalf("%s: not within %s: %v", what, patience, err)
}

// voter is one qdevice client that notes what it is told.
type voter struct {
	b    *ballot
	id   uint32
	conn *client.Conn
	mu   sync.Mutex
	ring wire.RingID
	vote wire.Vote
	seen []string // votes in the order in which they came
	end  error
}

const heartbeat = 1000 // ms

// connect makes a session of a node on one of the witnesses.
func (b *ballot) connect(id uint32, at int, ring wire.RingID, members ...uint32) *voter {
	b.Helper()
	v := &voter{b: b, id: id, ring: ring}
	b.eventually(fmt.Sprintf("node %d connects to %s", id, name(at)), func() error {
		nc, err := net.Dial("tcp", b.nodes[at].Qnetd)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		defer cancel()
		conn, err := client.Handshake(ctx, nc, "labcluster", nil, 1)
		if err != nil {
			return err
		}
		if _, err := conn.Init(ctx, wire.Init{
			Messages: wire.Types(), Options: wire.Options(), NodeID: id, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: heartbeat,
			TieBreaker: wire.TieBreaker{Mode: wire.TieLowest}, Ring: ring,
		}); err != nil {
			_ = conn.Close()
			return err
		}
		v.conn = conn
		return nil
	})
	b.Cleanup(func() { _ = v.conn.Close() })
	v.send(wire.NodeList{Seq: v.conn.NextSeq(), List: wire.ListInitialConfig, Nodes: infos(1, 2)})
	v.membership(ring, members...)
	go v.receive()
	go v.echo()
	return v
}

func infos(ids ...uint32) []wire.NodeInfo {
	var out []wire.NodeInfo
	for _, id := range ids {
		out = append(out, wire.NodeInfo{NodeID: id})
	}
	return out
}

func (v *voter) send(m wire.Message) {
	if err := v.conn.Send(m); err != nil {
		v.mu.Lock()
		v.end = err
		v.mu.Unlock()
	}
}

func (v *voter) membership(ring wire.RingID, members ...uint32) {
	v.mu.Lock()
	v.ring, v.vote = ring, wire.WaitForReply
	v.mu.Unlock()
	v.send(wire.NodeList{Seq: v.conn.NextSeq(), List: wire.ListMembership, Ring: ring, Nodes: infos(members...)})
}

func (v *voter) receive() {
	for {
		m, err := v.conn.Receive()
		v.mu.Lock()
		switch m := m.(type) {
		case wire.VoteInfo:
			if m.Ring == v.ring {
				v.vote = m.Vote
				v.seen = append(v.seen, m.Vote.String())
			}
			go v.send(wire.VoteInfoReply{Seq: m.Seq})
		}
		if err != nil {
			v.end, v.vote = err, wire.NACK // as ffsplit does
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
	}
}

func (v *voter) echo() {
	for seq := uint32(1); v.b.Context().Err() == nil; seq++ {
		if v.conn.Send(wire.NewEchoRequest(seq)) != nil {
			return
		}
		time.Sleep(heartbeat * time.Millisecond)
	}
}

func (v *voter) wants(what wire.Vote) func() error {
	return func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.vote != what {
			return fmt.Errorf("node %d counts %v after %v (%v)", v.id, v.vote, v.seen, v.end)
		}
		return nil
	}
}

func (v *voter) over() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.end == nil {
		return fmt.Errorf("the session of node %d lives", v.id)
	}
	return nil
}

func TestQnetdSplit(t *testing.T) {
	b := startBallot(t)
	both := wire.RingID{NodeID: 1, Seq: 9}
	one, two := b.connect(1, 0, both, 1, 2), b.connect(2, 1, both, 1, 2)
	b.eventually("both nodes have the vote", one.wants(wire.ACK))
	b.eventually("both nodes have the vote", two.wants(wire.ACK))

	start := time.Now()
	two.membership(wire.RingID{NodeID: 2, Seq: 13}, 2)
	one.membership(wire.RingID{NodeID: 1, Seq: 13}, 1)
	b.eventually("the winner has the vote", one.wants(wire.ACK))
	t.Logf("decided after %s", time.Since(start))
	if err := two.wants(wire.NACK)(); err != nil {
		t.Errorf("the winner has the vote, but %v", err)
	}
	s := b.nodes[0].Backend.State().Cluster("lab")
	if s.Holder != "n1" || s.Epoch != 2 {
		t.Errorf("holder %q with epoch %d, want n1 with 2", s.Holder, s.Epoch)
	}

	// A session moves to another witness: the vote stays where it is.
	again := b.connect(1, 2, wire.RingID{NodeID: 1, Seq: 13}, 1)
	b.eventually("the node has its vote again", again.wants(wire.ACK))
	b.eventually("its old connection ends", one.over)
	if c := b.nodes[2].Backend.State().Cluster("lab"); c.Holder != "n1" || c.Epoch != 2 {
		t.Errorf("after the move: holder %q with epoch %d, want n1 with 2", c.Holder, c.Epoch)
	}

	// The winner falls silent: the vote moves, not before it has surely given up.
	quiet := time.Now()
	_ = again.conn.Close()
	b.eventually("the vote moves to the other node", two.wants(wire.ACK))
	t.Logf("moved %s after the end of the connection", time.Since(quiet))
}

func TestQnetdLeaderChange(t *testing.T) {
	b := startBallot(t)
	both := wire.RingID{NodeID: 1, Seq: 9}
	leader := 0
	b.eventually("somebody leads", func() error {
		for i, n := range b.nodes {
			if n.Backend.IsLeader() {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("nobody leads")
	})
	one, two := b.connect(1, (leader+1)%3, both, 1, 2), b.connect(2, (leader+2)%3, both, 1, 2)
	b.eventually("both nodes have the vote", one.wants(wire.ACK))
	b.eventually("both nodes have the vote", two.wants(wire.ACK))
	b.stop[leader]()
	b.eventually("another one leads", func() error {
		if b.nodes[(leader+1)%3].Backend.IsLeader() || b.nodes[(leader+2)%3].Backend.IsLeader() {
			return nil
		}
		return fmt.Errorf("nobody leads")
	})
	two.membership(wire.RingID{NodeID: 2, Seq: 13}, 2)
	one.membership(wire.RingID{NodeID: 1, Seq: 13}, 1)
	b.eventually("the winner has the vote", one.wants(wire.ACK))
	if one.over() == nil || two.over() == nil {
		t.Errorf("a leader change broke a session: %v %v", one.end, two.end)
	}
}
