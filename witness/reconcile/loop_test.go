package reconcile

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// run starts a loop and returns what ends it.
func run(t *testing.T, n Node, e Executor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Loop{Node: n, Executor: e, Log: slog.New(slog.DiscardHandler)}).Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestLeaderFencesBeforeRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		h := &hands{answer: proven, hold: make(chan struct{})}
		stop := run(t, &node{cluster: c, name: "w1"}, h)
		defer stop()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(time.Second)
		if h.count() != 1 || c.holder().Holder != "pg1" {
			t.Fatalf("%d power-offs, holder %q: want one under way and the key still held", h.count(), c.holder().Holder)
		}
		close(h.hold)
		time.Sleep(time.Second)
		if got := c.holder(); got.Holder != "" || got.Release.Grade != witness.GradeObserved {
			t.Errorf("after the proof: holder %q, release %+v", got.Holder, got.Release)
		}
	})
}

func TestLeaderThatCannotVerifyTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		h := &hands{answer: proven}
		n := &node{cluster: c, name: "w1", cutOff: true}
		stop := run(t, n, h)
		defer stop()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(10 * time.Second)
		if h.count() != 0 {
			t.Errorf("a leader without a quorum touched a device %d times", h.count())
		}
		if len(n.State().PendingActions()) != 1 {
			t.Errorf("want the action still pending, for whoever leads next")
		}
	})
}

func TestNextLeaderCarriesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		first := &hands{answer: proven, hold: make(chan struct{})}
		stop1 := run(t, &node{cluster: c, name: "w1"}, first)
		second := &hands{answer: proven}
		stop2 := run(t, &node{cluster: c, name: "w2"}, second)
		defer stop2()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(time.Second)
		if first.count() != 1 || second.count() != 0 {
			t.Fatalf("leader did %d, follower %d", first.count(), second.count())
		}
		c.lead("w2")
		time.Sleep(time.Second)
		if second.count() != 1 || c.holder().Holder != "" {
			t.Errorf("the next leader did %d, holder %q", second.count(), c.holder().Holder)
		}
		stop1()
	})
}

func TestAssignedWitnessExecutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		follower := &hands{answer: proven}
		n := &node{cluster: c, name: "w2", cutOff: true}
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		plan := witness.Decide((&node{cluster: c, name: "w1"}).View())
		plan.Actions[0].Executor = "w2"
		c.must(t, witness.PlanCmd{Plan: *plan})
		stop := run(t, n, follower)
		time.Sleep(15 * time.Second)
		if follower.count() != 0 {
			t.Fatal("an assigned witness without contact to the quorum touched the device")
		}
		stop()
		n.cutOff = false
		stop = run(t, n, follower)
		defer stop()
		time.Sleep(15 * time.Second)
		if follower.count() != 1 || c.holder().Holder != "" {
			t.Errorf("the assigned witness did %d, holder %q", follower.count(), c.holder().Holder)
		}
	})
}

func TestOutcomeIsReportedUntilRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		h := &hands{answer: proven}
		stop := run(t, &node{cluster: c, name: "w1", failures: 5}, h)
		defer stop()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(5 * time.Second)
		if h.count() != 1 || c.holder().Holder != "" {
			t.Errorf("%d power-offs, holder %q: want one, recorded after five failed reports", h.count(), c.holder().Holder)
		}
	})
}

func TestUnprovenIsTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		h := &hands{answer: witness.Finished{Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: "the BMC is silent"}}
		stop := run(t, &node{cluster: c, name: "w1"}, h)
		defer stop()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(time.Minute - time.Second) // the next attempt is due at the full minute, and would end the hold just now
		tries := h.count()
		if tries < 3 || tries > 8 || c.holder().Holder != "pg1" || c.holder().Guard.Held == "" {
			t.Errorf("%d tries in a minute, holder %q, guard %+v: want a few, and the cluster held", tries, c.holder().Holder, c.holder().Guard)
		}
	})
}

func TestLateRenewalIsASign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOn)
		c.leader = "w1"
		stop := run(t, &node{cluster: c, name: "w1"}, &hands{})
		defer stop()
		set := func(d time.Duration) {
			c.mu.Lock()
			c.since[1] = d
			c.mu.Unlock()
			time.Sleep(time.Second)
		}
		set(witness.RenewalLimit(witness.PatroniSetting{}) - time.Millisecond)
		if c.holder().Overdue != nil {
			t.Error("a renewal in time is called late")
		}
		set(witness.RenewalLimit(witness.PatroniSetting{}) + time.Millisecond)
		if c.holder().Overdue == nil {
			t.Error("a late renewal is no sign")
		}
		set(0)
		if c.holder().Overdue != nil {
			t.Error("the sign stays after the renewal")
		}
	})
}
