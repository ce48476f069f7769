package qnetd

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
	"quorate/witness/vote"
)

// vigil is a keeper in virtual time over a log with two connected nodes, whose
// owners are the witnesses w1 and w2.
type vigil struct {
	*testing.T
	n    *soleNode
	k    *keeper
	ctx  context.Context // until stop
	stop func()

	others sync.WaitGroup
}

const vigilHB = 8 * time.Second

func newVigil(t *testing.T) *vigil {
	n := newSoleNode()
	v := &vigil{T: t, n: n}
	v.propose(witness.Configure{By: "test", Config: witness.Config{
		Hosts: []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}, {Name: "h2", Addresses: []string{"10.0.0.2"}}},
		Clusters: []witness.ClusterSpec{{Name: "lab", Kind: witness.KindCorosync, Members: []witness.MemberSpec{
			{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 2},
		}}},
	}})
	for node := uint32(1); node <= 2; node++ {
		base := witness.QnetdOp{Cluster: "lab", Node: node, Conn: 1}
		var ops []witness.QnetdOp
		for i, op := range []witness.QnetdOp{
			{Kind: witness.QnetdInit, Algorithm: vote.FFSplit, Heartbeat: uint32(vigilHB / time.Millisecond), TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}},
			{Kind: witness.QnetdConfig, Nodes: []uint32{1, 2}, Initial: true},
			{Kind: witness.QnetdMembership, Nodes: []uint32{1, 2}, Ring: vote.Ring{Node: 1, Seq: 9}},
		} {
			op.Cluster, op.Node, op.Conn, op.Op = base.Cluster, base.Node, base.Conn, uint64(i)
			ops = append(ops, op)
		}
		v.propose(witness.QnetdCmd{Owner: owner(node), Boot: 1, Ops: ops})
	}
	v.k = &keeper{node: n, log: slog.New(slog.DiscardHandler), contact: 5 * time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.k.run(ctx) }()
	v.ctx, v.stop = ctx, func() { cancel(); <-done; v.others.Wait() }
	return v
}

func owner(node uint32) string { return []string{"", "w1", "w2"}[node] }

func (v *vigil) propose(c witness.Command) {
	v.Helper()
	if _, err := v.n.Propose(v.Context(), c); err != nil {
		v.Fatal(err)
	}
}

func (v *vigil) node(id uint32) *witness.QuorumNode {
	return v.n.State().Cluster("lab").Quorum.Node(id)
}

// report has the owner of a node report every second for a while.
func (v *vigil) report(node uint32, boot uint64, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && v.ctx.Err() == nil; time.Sleep(time.Second) {
		v.k.heard(owner(node), aliveReport{Boot: boot, Contact: 5 * time.Second}, time.Now())
	}
}

// TestSilentOwner: the sessions of a witness end when its clients have surely
// given up: 2 HB after the last echo that it may have answered, and not before.
func TestSilentOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVigil(t)
		defer v.stop()
		v.others.Go(func() { v.report(2, 1, 200*time.Second) })
		v.report(1, 1, 30*time.Second)
		last := time.Now().Add(-time.Second)
		time.Sleep(time.Until(last.Add(2*vigilHB + 5*time.Second)))
		if v.node(1).Session == nil {
			t.Fatal("the session ended before its client has surely given up")
		}
		time.Sleep(2 * time.Second)
		if v.node(1).Session != nil || v.node(1).May {
			t.Error("the session of a silent witness has not ended")
		}
		if v.node(2).Session == nil {
			t.Error("the session of a witness that reports has ended")
		}
	})
}

// TestFormerLife: reports of a witness that was started anew say nothing of the
// sessions of its former life.
func TestFormerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVigil(t)
		defer v.stop()
		v.report(1, 2, 30*time.Second)
		if v.node(1).Session != nil {
			t.Error("a session lives on the reports of another life of its witness")
		}
	})
}

// TestNewLeaderWaitsAnew: a leader of a new term has heard nothing of before, so
// it gives everybody the full time.
func TestNewLeaderWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVigil(t)
		defer v.stop()
		for range 5 {
			time.Sleep(15 * time.Second)
			v.n.lead(false)
			time.Sleep(time.Second)
			v.n.lead(true)
		}
		if v.node(1).Session == nil || v.node(2).Session == nil {
			t.Fatal("a session ended under a leader that has not waited for it")
		}
		time.Sleep(30 * time.Second)
		if v.node(1).Session != nil || v.node(2).Session != nil {
			t.Error("sessions of silent witnesses live for ever")
		}
	})
}

// TestBrokenConnection: the ACK of a killed qdevice counts for as long as
// votequorum counts it, 1.25 HB, and the time starts anew with each leader.
func TestBrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVigil(t)
		defer v.stop()
		v.others.Go(func() { v.report(2, 1, 100*time.Second) })
		v.propose(witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{{Kind: witness.QnetdDown, Cluster: "lab", Node: 1, Conn: 1, Cause: witness.GoneBroken}}})
		time.Sleep(8 * time.Second)
		v.n.lead(false)
		v.n.lead(true)
		time.Sleep(vigilHB * 5 / 4)
		if !v.node(1).May {
			t.Fatal("the ACK ended before corosync has surely dropped it")
		}
		time.Sleep(time.Second)
		if v.node(1).May {
			t.Error("the ACK of a killed qdevice counts for ever")
		}
	})
}

// TestMissingVoteIsAnAlert after half a minute, once, and its end is told.
func TestMissingVoteIsAnAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVigil(t)
		defer v.stop()
		v.others.Go(func() { v.report(2, 1, 100*time.Second) })
		v.propose(witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{{Kind: witness.QnetdDown, Cluster: "lab", Node: 1, Conn: 1, Cause: witness.GoneClosed}}})
		time.Sleep(29 * time.Second)
		if why := v.n.State().Cluster("lab").Quorum.NotVoting; why != "" {
			t.Errorf("alert after 29 s: %s", why)
		}
		time.Sleep(5 * time.Second)
		if why := v.n.State().Cluster("lab").Quorum.NotVoting; why != "n1 not connected" {
			t.Errorf("the alert says %q", why)
		}
		v.propose(witness.QnetdCmd{Owner: "w1", Boot: 1, Ops: []witness.QnetdOp{{
			Kind: witness.QnetdInit, Cluster: "lab", Node: 1, Conn: 2, Algorithm: vote.FFSplit, Heartbeat: 8000, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest},
		}}})
		time.Sleep(3 * time.Second)
		if why := v.n.State().Cluster("lab").Quorum.NotVoting; why != "" {
			t.Errorf("the alert stays: %s", why)
		}
	})
}
