package qnetd

import (
	"net"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

// A list that no cluster has is refused before it gets into an entry: many of them
// together would be too long for the log, and the messages of other clusters that
// happen to be in the same entry would be lost with them.
func TestLongListsStayOutOfTheLog(t *testing.T) {
	s, n := serve(t, nil)
	for _, list := range []wire.ListType{wire.ListInitialConfig, wire.ListMembership, wire.ListQuorum} {
		p := join(t, s, 1)
		long := wire.NodeList{Seq: 3, List: list, Ring: wire.RingID{NodeID: 1, Seq: 9}}
		for id := range uint32(1500) {
			long.Nodes = append(long.Nodes, wire.NodeInfo{NodeID: 4e9 + id, State: wire.NodeLeaving})
		}
		p.say(long)
		for m := p.hear(); m != nil; m = p.hear() {
			if _, ok := m.(wire.ServerError); ok {
				break
			}
			if _, ok := m.(wire.NodeListReply); ok {
				t.Errorf("list %d of 1,500 nodes is taken", list)
				break
			}
		}
		_ = p.conn.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.longest > 4096 {
		t.Errorf("an entry has %d bytes", n.longest)
	}
}

// A client whose INIT was refused has no session: it must not keep a place that
// others need, however lively it is.
func TestRefusedInitKeepsNoPlace(t *testing.T) {
	s, _ := serve(t, nil)
	join(t, s, 1)
	p := dial(t, s)
	other := initOf(2)
	other.TieBreaker.Mode = wire.TieHighest
	p.say(preinit(), other)
	if r := hearUntil[wire.InitReply](p); r.Code != wire.TieBreakerDiffersFromOtherNodes {
		t.Fatalf("INIT is answered %v", r.Code)
	}
	if m := p.hear(); m != nil {
		t.Errorf("after that comes %v", m)
	}
	until(t, "it is forgotten", func() bool { return len(s.list()) == 1 })
}

// A reset may come from a firewall on the way, of which the client knows nothing:
// it counts its ACK until it gives up by itself.
func TestResetProvesNothing(t *testing.T) {
	s, n := serve(t, nil)
	p := join(t, s, 1)
	p.say(config(3), members(4, wire.RingID{NodeID: 1, Seq: 9}, 1))
	if v := hearUntil[wire.VoteInfo](p); v.Vote != wire.ACK {
		t.Fatalf("a lone node is told %v", v.Vote)
	}
	_ = p.conn.(*net.TCPConn).SetLinger(0)
	_ = p.conn.Close()
	until(t, "its session is over", func() bool { return n.State().Cluster("lab").Quorum.Node(1).Session == nil })
	g := n.State().Cluster("lab").Quorum.Node(1).Gone
	if g == nil || g.Void() < 2*8*time.Second {
		t.Errorf("its vote is taken for void too early: %+v", g)
	}
}
