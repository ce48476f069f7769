//go:build integration

package patroni

import (
	"testing"
	"time"

	"quorate/test/probe"
)

// TestPlannedSwitchover moves the primary there and back: what Patroni leaves
// behind after the first switchover must not be in the way of the second.
func TestPlannedSwitchover(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{})
	for _, name := range []string{"there", "back"} {
		t.Run(name, s.plannedSwitchover)
	}
}

func (s *stack) plannedSwitchover(t *testing.T) {
	o := s.observe(t)
	before := s.view(t)
	old, err := s.cluster.Member(before.Holder)
	if err != nil {
		t.Fatal(err)
	}
	to := s.cluster.Replica(old)
	start := time.Now()
	if _, err := s.witnesses.Ctl(t.Context(), "switchover", scope, "--to", to.Name,
		"--by", "alice", "--reason", "moving to the new rack"); err != nil {
		t.Fatal(err)
	}
	s.waitNames(t, o, to.Host.IP(), start)
	o.waitWrite(t, start, "writes through DNS on "+to.Name, func(a probe.Ack) bool { return a.Node == to.Host.IP() })
	run := s.lastRun(t)
	after := s.view(t)
	if err := s.cluster.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.waitProtected(t)
	o.stop()

	t.Logf("write outage %s", o.outageAt(start))
	o.assertNoneLost(t)
	o.assertOneWriter(t)
	if after.Holder != to.Name || after.Epoch != before.Epoch+1 {
		t.Errorf("%s holds epoch %d, want %s and epoch %d", after.Holder, after.Epoch, to.Name, before.Epoch+1)
	}
	assertPhases(t, run, "switchover", "decided", "released", "granted")
	if run.From != old.Name || run.To != to.Name || run.By != "alice" || run.Reason != "moving to the new rack" {
		t.Errorf("the history does not tell who moved what where and why: %+v", run)
	}
	for name, bmc := range s.bmcs {
		if off, err := bmc.OffSince(start); err == nil {
			t.Errorf("a planned switchover powered off the host of %s at %s", name, off.At)
		}
	}
}

// loss is what was seen when a primary was lost and somebody took over.
type loss struct {
	start    time.Time
	off      time.Time // its host was off, as its BMC did it; zero over etcd
	released time.Time // its leader key was gone
	outage   probe.Outage
	lost     int // acknowledged rows that the new primary lacks
	old      *Member
	by       *Member // who took over
}

// loseOver brings a fault upon the primary and waits until somebody else accepts
// writes. It checks that at no instant two hosts did, and over witnesses that
// the loser was off before its key was released.
func (s *stack) loseOver(t *testing.T, fault func(old *Member)) loss {
	t.Helper()
	o := s.observe(t)
	old := s.leader(t)
	l := loss{old: old, start: time.Now()}
	fault(old)
	ack := o.waitWrite(t, l.start, "writes on another host than "+old.Host.Name(), func(a probe.Ack) bool {
		return a.Node != old.Host.IP()
	})
	for _, m := range s.cluster.Members {
		if m.Host.IP() == ack.Node {
			l.by = m
		}
	}
	if s.witnesses != nil {
		s.assertNamed(t, o, l)
	}
	o.stop()
	l.outage, l.lost = o.outageAt(l.start), o.lost(t)
	released, err := o.keys.ReleasedFrom(old.Name, l.start)
	if err != nil {
		t.Error(err)
	}
	l.released = released.At
	o.assertOneWriter(t)
	if s.witnesses != nil {
		l.off = s.assertOffFirst(t, old, l)
	}
	t.Logf("off after %s, leader key gone after %s, write outage %s, %d acknowledged rows lost",
		since(l.start, l.off), since(l.start, l.released), l.outage, l.lost)
	return l
}

// assertNamed waits until every living witness names the new primary, and says
// how long after the first of them the last one did.
func (s *stack) assertNamed(t *testing.T, o *observers, l loss) {
	t.Helper()
	living := 0
	for _, n := range s.witnesses.Nodes {
		if pids, err := n.Host.Pids(); err == nil && len(pids) > 0 {
			living++
		}
	}
	o.wait(t, "DNS on every living witness to name "+l.by.Host.Name(), func() bool {
		return len(o.names.FirstAnswer(l.by.Host.IP(), l.start)) >= living
	})
	var first, last time.Time
	for _, at := range o.names.FirstAnswer(l.by.Host.IP(), l.start) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	t.Logf("DNS named the new primary after %s, on the last witness %s later", since(l.start, first), last.Sub(first))
}

// assertOffFirst fails the test unless the loser's host was powered off by its
// BMC, with nothing left running, before its key was released.
func (s *stack) assertOffFirst(t *testing.T, old *Member, l loss) time.Time {
	t.Helper()
	off, err := s.bmcs[old.Name].OffSince(l.start)
	if err != nil {
		t.Error(err)
		return time.Time{}
	}
	if !off.At.Before(l.released) {
		t.Errorf("the leader key was released %s before the host was off", off.At.Sub(l.released))
	}
	if pids, err := old.Host.Pids(); err != nil || len(pids) > 0 {
		t.Errorf("%s still runs %v (%v)", old.Host.Name(), pids, err)
	}
	assertPhases(t, s.lastRun(t), "failover", "lease-dead", "decided", "proven-off", "released", "granted")
	for name, bmc := range s.bmcs {
		if _, err := bmc.OffSince(l.start); err == nil && name != old.Name {
			t.Errorf("the host of %s was powered off as well", name)
		}
	}
	return off.At
}

func since(start, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Sub(start).Round(time.Millisecond).String()
}

func TestPowerLossOfThePrimary(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{fast: "on"})
	before := s.view(t)
	l := s.loseOver(t, func(old *Member) {
		if err := old.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	after := s.view(t)
	if after.Holder != l.by.Name || after.Epoch != before.Epoch+1 {
		t.Errorf("%s holds epoch %d, want %s and epoch %d", after.Holder, after.Epoch, l.by.Name, before.Epoch+1)
	}
	s.revive(t, l.old)
}

func TestPrimaryCutOff(t *testing.T) {
	for _, fast := range []string{"off", "on"} {
		t.Run("fast fencing "+fast, func(t *testing.T) {
			s := witnessStack(t, t.Name(), variant{fast: fast})
			s.loseOver(t, func(old *Member) {
				if err := s.lab.Isolate(t.Context(), old.Host); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestPrimaryCutOffAndWitnessLeaderDies(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{fast: "on"})
	leader, err := s.witnesses.WaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.loseOver(t, func(old *Member) {
		if err := s.lab.Isolate(t.Context(), old.Host); err != nil {
			t.Fatal(err)
		}
		if err := leader.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	next, err := s.witnesses.WaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if next == leader {
		t.Errorf("%s was killed and still leads", leader.Name)
	}
}
