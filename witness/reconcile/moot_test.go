package reconcile

import (
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
	"quorate/witness/vote"
)

// corosync plays a cluster of two whose second node has lost the vote.
func (c *cluster) corosync(t *testing.T, fencing string) {
	t.Helper()
	c.must(t, witness.Configure{Config: witness.Config{
		Devices: []witness.Device{{Name: "bmc", Driver: "redfish"}},
		Hosts: []witness.Host{
			{Name: "h1", Addresses: []string{"10.0.0.1"}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc"}}},
			{Name: "h2", Addresses: []string{"10.0.0.2"}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc"}}},
		},
		Clusters: []witness.ClusterSpec{{
			Name: "lab", Kind: witness.KindCorosync, Fencing: fencing,
			Members: []witness.MemberSpec{{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 2}},
		}},
	}})
	for id := range uint32(2) {
		c.says(t, id+1,
			witness.QnetdOp{Kind: witness.QnetdInit, Algorithm: vote.FFSplit, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}, Heartbeat: 8000},
			witness.QnetdOp{Kind: witness.QnetdConfig, Nodes: []uint32{1, 2}, Initial: true})
	}
	c.rings(t, 5, []uint32{1, 2}, []uint32{1, 2})
	c.rings(t, 9, []uint32{1}, []uint32{2})
}

// rings tells the memberships of both nodes; a NACK is answered.
func (c *cluster) rings(t *testing.T, seq uint64, sees ...[]uint32) {
	t.Helper()
	for i, members := range sees {
		c.says(t, uint32(i+1), witness.QnetdOp{Kind: witness.QnetdMembership, Nodes: members, Ring: vote.Ring{Node: members[0], Seq: seq}})
	}
	c.answers(t)
}

func (c *cluster) answers(t *testing.T) {
	t.Helper()
	for _, n := range c.quorum().Nodes {
		if n.Session.Vote == vote.NACK && !n.Session.Answered {
			c.says(t, n.ID, witness.QnetdOp{Kind: witness.QnetdAnswered, Seq: n.Session.VoteSeq})
		}
	}
}

func (c *cluster) says(t *testing.T, node uint32, ops ...witness.QnetdOp) {
	t.Helper()
	for _, op := range ops {
		op.Cluster, op.Node, op.Conn = "lab", node, uint64(node)
		if n := c.quorum().Node(node); n != nil && n.Session != nil {
			op.Op = n.Session.Ops + 1
		}
		c.must(t, witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{op}})
	}
}

func (c *cluster) quorum() *witness.Quorum {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cluster("lab").Quorum
}

// A power-off whose executor was away is not done once the vote has moved: not if
// the node has the vote again, nor if the side that asked for it has lost it.
func TestNoPowerOffAfterTheVoteHasMoved(t *testing.T) {
	for name, ask := range map[string]bool{"proactive": false, "asked for": true} {
		for what, moves := range map[string]func(*testing.T, *cluster){
			"stays":     func(*testing.T, *cluster) {},
			"is shared": func(t *testing.T, c *cluster) { c.rings(t, 13, []uint32{1, 2}, []uint32{1, 2}) },
			"is moved": func(t *testing.T, c *cluster) {
				c.says(t, 1, witness.QnetdOp{Kind: witness.QnetdHeuristics, Heuristics: vote.Fail})
				c.answers(t)
			},
		} {
			t.Run(name+", the vote "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster()
					c.leader = "w1"
					fencing := witness.FencingProactive
					if ask {
						fencing = witness.FencingOnRequest
					}
					c.corosync(t, fencing)
					if ask {
						c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOff, Host: "h2", By: "fence_witness", Requester: "h1", Reason: "x"}})
					}
					lead := &node{cluster: c, name: "w1"}
					plan := witness.Decide(lead.View())
					if plan == nil || len(plan.Actions) != 1 || plan.Actions[0].Host != "h2" {
						t.Fatalf("the plan is %+v", plan)
					}
					plan.Actions[0].Executor = "w3" // which is down
					c.must(t, witness.PlanCmd{Plan: *plan})
					moves(t, c)
					c.lives("w1", "w2")
					h := &hands{answer: proven}
					stop1, stop2 := run(t, lead, h), run(t, &node{cluster: c, name: "w2"}, h)
					time.Sleep(2 * time.Minute)
					stop1()
					stop2()
					want := map[string]int{"stays": 1, "is shared": 0, "is moved": 0}[what]
					if ask && what == "is shared" {
						want = 1 // whoever asked has the vote still
					}
					off := 0
					for _, a := range h.done {
						if a == "fence-off h2" {
							off++
						}
					}
					if off != want {
						t.Errorf("the host was powered off %d times, want %d", off, want)
					}
					for _, a := range lead.State().PendingActions() {
						t.Errorf("action %s on %s is pending for ever", a.ID, a.Host)
					}
				})
			})
		}
	}
}
