package witness_test

import (
	"testing"

	"quorate/witness"
	"quorate/witness/vote"
)

// corosync declares a cluster whose policy changes from one time to the next.
func (g *nonsense) corosync() witness.ClusterSpec {
	return witness.ClusterSpec{
		Name: "cs", Kind: witness.KindCorosync, Fencing: pick(g, "", "off", "proactive", "proactive"), WaitForAll: pick(g, "", "yes", "no", "no"),
		StrictLMS: pick(g, "", "", "yes"),
		Members:   []witness.MemberSpec{{Name: "n1", Host: "h6", Node: 1}, {Name: "n2", Host: "h7", Node: pick(g, uint32(2), 2, 3)}},
	}
}

func (g *nonsense) ids() []uint32 {
	return pick(g, []uint32{1, 2}, []uint32{1}, []uint32{2}, []uint32{1, 2, 3}, nil, []uint32{3, 0})
}

func (g *nonsense) ring() vote.Ring {
	return vote.Ring{Node: uint32(g.rng.IntN(3)), Seq: uint64(g.rng.IntN(4))}
}

// qnetd makes messages of sessions that mostly exist.
func (g *nonsense) qnetd() witness.Command {
	cmd := witness.QnetdCmd{Owner: pick(g, "w1", "w2"), Boot: pick(g, uint64(1), 1, 1, 2)}
	for range 1 + g.rng.IntN(3) {
		op := witness.QnetdOp{
			Kind:    pick(g, "init", "init", "option", "config", "config", "membership", "membership", "membership", "quorum", "heuristics", "ask", "answered", "answered", "down", "timer", "nonsense"),
			Cluster: pick(g, "cs", "cs", "cs", "cs", "cs", "pg", "gone"), Node: uint32(g.rng.IntN(4)), Conn: uint64(g.rng.IntN(40)), Op: uint64(g.rng.IntN(12)),
			Algorithm: pick(g, vote.FFSplit, vote.FFSplit, vote.LMS, vote.TwoNodeLMS, vote.Test, 9), Heartbeat: uint32(g.rng.IntN(9000)),
			TieBreaker: vote.TieBreaker{Mode: uint8(g.rng.IntN(4)), Node: uint32(g.rng.IntN(3))}, Addr: pick(g, "10.0.0.1:1", "10.0.0.2:1", "x"),
			Verified: g.rng.IntN(2) == 0, Hold: g.rng.IntN(4) == 0, Ring: g.ring(), Nodes: g.ids(), Leaving: g.ids(), Initial: g.rng.IntN(2) == 0,
			Heuristics: vote.Heuristics(g.rng.IntN(5)), KeepActive: g.rng.IntN(2) == 0, Quorate: g.rng.IntN(2) == 0,
			Seq: uint32(g.rng.IntN(6)), Cause: pick(g, "closed", "broken", "dropped", "expired", "power", "x"),
		}
		if c := g.s.Cluster("cs"); c != nil && c.Quorum != nil {
			if n := c.Quorum.Node(op.Node); n != nil && n.Session != nil && g.rng.IntN(4) > 0 { // a message that fits
				cmd.Owner, cmd.Boot, op.Conn, op.Op, op.Seq = n.Session.Owner, n.Session.Boot, n.Session.Conn, n.Session.Ops+1, n.Session.VoteSeq
			}
		}
		cmd.Ops = append(cmd.Ops, op)
	}
	return cmd
}

func (g *nonsense) qnetdExpire() witness.Command {
	ref := witness.QnetdRef{Cluster: pick(g, "cs", "cs", "pg", ""), Node: uint32(g.rng.IntN(4)), Index: uint64(g.rng.IntN(150))}
	if c := g.s.Cluster(ref.Cluster); c != nil && c.Quorum != nil && g.rng.IntN(4) > 0 {
		if n := c.Quorum.Node(ref.Node); n != nil && n.Session != nil {
			ref.Index = n.Session.Index
		} else if n != nil && n.Gone != nil {
			ref.Index = n.Gone.Index
		}
	}
	return witness.QnetdExpire{Items: []witness.QnetdRef{ref}, Term: g.s.Term + uint64(g.rng.IntN(2))}
}

// TestNodeIDsOfThePast: ids that were used once take no place from those of today.
func TestNodeIDsOfThePast(t *testing.T) {
	s := witness.New()
	index := uint64(0)
	apply := func(cmd witness.Command) witness.Result {
		index++
		next, res, _ := s.Apply(witness.Entry{Index: index, Term: 1, Cmd: cmd})
		s = next
		return res
	}
	apply(witness.Configure{Config: witness.Config{
		Hosts:    []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}, {Name: "h2", Addresses: []string{"10.0.0.2"}}},
		Clusters: []witness.ClusterSpec{{Name: "cs", Kind: witness.KindCorosync, Members: []witness.MemberSpec{{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 900}}}},
	}})
	say := func(node uint32, op witness.QnetdOp) witness.QnetdReply {
		op.Cluster, op.Node, op.Conn = "cs", node, uint64(node)
		return apply(witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{op}}).Qnetd[0]
	}
	hello := witness.QnetdOp{Kind: witness.QnetdInit, Algorithm: vote.FFSplit, Heartbeat: 8000}
	for node := uint32(1); node <= 200; node++ {
		if r := say(node, hello); r.Gone {
			t.Fatalf("node %d is refused: %s", node, r.Why)
		}
		say(node, witness.QnetdOp{Kind: witness.QnetdDown, Cause: witness.GoneClosed})
	}
	if r := say(900, hello); r.Gone {
		t.Errorf("a declared node is refused: %s", r.Why)
	}
	if n := len(s.Cluster("cs").Quorum.Nodes); n > witness.MaxQuorumNodes {
		t.Errorf("the state has %d nodes", n)
	}
}
