package main

import (
	"slices"
	"strings"
	"testing"

	"quorate/witness"
	"quorate/witness/vote"
)

// TestNamesFollowTheVote: the names of a corosync cluster are those of the
// partition that has the vote, and nobody's while it is on its way.
func TestNamesFollowTheVote(t *testing.T) {
	cfg := testConfig()
	spec := &cfg.Clusters[0]
	spec.Kind = witness.KindCorosync
	for i := range spec.Members {
		spec.Members[i].Node = uint32(i + 1)
	}
	st := &story{t: t, s: witness.New()}
	st.apply(witness.Configure{Config: cfg})
	say := func(node uint32, op witness.QnetdOp) {
		t.Helper()
		op.Cluster, op.Node, op.Conn = "demo", node, 1
		st.apply(witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{op}})
	}
	names := func(when string, want ...string) {
		t.Helper()
		var got []string
		for _, line := range strings.Split(zoneOf(t, st.s), "\n") {
			if f := strings.Fields(line); len(f) == 5 && f[0] == "primary.demo.db.test." && f[3] == "A" {
				got = append(got, f[4])
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: primary.demo is %v, want %v", when, got, want)
		}
	}
	for node := uint32(1); node <= 2; node++ {
		say(node, witness.QnetdOp{Kind: witness.QnetdInit, Algorithm: vote.FFSplit, Heartbeat: 8000, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}})
		say(node, witness.QnetdOp{Kind: witness.QnetdConfig, Op: 1, Nodes: []uint32{1, 2}, Initial: true})
		say(node, witness.QnetdOp{Kind: witness.QnetdMembership, Op: 2, Nodes: []uint32{1, 2}, Ring: vote.Ring{Node: 1, Seq: 9}})
	}
	names("together", "10.0.1.1", "10.0.1.2")
	say(2, witness.QnetdOp{Kind: witness.QnetdMembership, Op: 3, Nodes: []uint32{2}, Ring: vote.Ring{Node: 2, Seq: 13}})
	names("one has seen a cut", "10.0.1.1", "10.0.1.2")
	say(1, witness.QnetdOp{Kind: witness.QnetdMembership, Op: 3, Nodes: []uint32{1}, Ring: vote.Ring{Node: 1, Seq: 13}})
	names("the loser has been told")
	say(2, witness.QnetdOp{Kind: witness.QnetdAnswered, Op: 4, Seq: st.s.Cluster("demo").Quorum.Node(2).Session.VoteSeq})
	names("decided", "10.0.1.1")
	if zone := zoneOf(t, st.s); !strings.Contains(zone, `"epoch=2 holder=pg1"`) {
		t.Errorf("the zone does not tell the holder:\n%s", zone)
	}
}
