package node

import (
	"testing"
	"time"

	"quorate/witness"
)

// stateWith returns a state with leases of 10 s, made by entries as always.
func stateWith(t *testing.T, ids ...int64) *witness.State {
	t.Helper()
	s := witness.New()
	for i, id := range ids {
		var res witness.Result
		s, res, _ = s.Apply(witness.Entry{Index: uint64(i + 1), Term: 1, Cmd: witness.LeaseGrant{ID: id, TTL: 10}})
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	return s
}

func TestLessor(t *testing.T) {
	t0 := time.Now()
	at := func(sec float64) time.Time { return t0.Add(time.Duration(sec * float64(time.Second))) }
	s := stateWith(t, 1, 2)
	l := newLessor(time.Second)
	l.promote(t0, s)

	if ids, _ := l.due(at(10.9), s); len(ids) != 0 {
		t.Fatalf("due %v before TTL + election timeout after a promotion", ids)
	}
	if got := l.renew(at(10.9), s, 1); got.ttl != 10 || got.wait != nil || got.unmark != nil {
		t.Fatalf("renewal: %d, %v", got.ttl, got.wait)
	}
	ids, _ := l.due(at(11), s)
	if len(ids) != 1 || ids[0] != 2 {
		t.Fatalf("due %v, want lease 2", ids)
	}
	if again, _ := l.due(at(12), s); len(again) != 0 {
		t.Errorf("lease is due twice: %v", again)
	}
	got := l.renew(at(12), s, 2)
	ttl, wait := got.ttl, got.wait
	if ttl != 0 || wait == nil {
		t.Fatalf("renewal of an expiring lease: %d, %v; want to wait", got.ttl, got.wait)
	}
	if l.grantBegin(2) == nil {
		t.Error("the id of an expiring lease was given away")
	}
	l.settle(ids)
	<-wait
	if got := l.renew(at(12), s, 2); got.ttl != 10 || got.wait != nil || got.unmark != nil {
		t.Errorf("after an expiry that failed: %d, %v", got.ttl, got.wait)
	}
	if l.grantBegin(2) != nil {
		t.Error("grant has to wait for nothing")
	}
	if ids, _ := l.due(at(60), s); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("due %v while id 2 is being granted, want only 1", ids)
	}
	l.grantEnd(2)
	if ids, _ := l.due(at(60), s); len(ids) != 1 || ids[0] != 2 {
		t.Errorf("due %v after the grant, want 2", ids)
	}
	if left, _, ok := l.info(at(60), stateWith(t), 1); ok || left != 0 {
		t.Error("a lease that is gone has time left")
	}
}

func TestLessorGivesFullTimeAfterAPause(t *testing.T) {
	t0 := time.Now()
	s := stateWith(t, 1)
	l := newLessor(time.Second)
	l.promote(t0, s)
	gap := gapWatch{last: t0, longest: 600 * time.Millisecond}
	if gap.paused(t0.Add(600*time.Millisecond)) != 0 {
		t.Error("a tick in time counts as a pause")
	}
	resumed := t0.Add(40 * time.Second)
	if gap.paused(resumed) == 0 {
		t.Fatal("a pause of 40 s was not noticed")
	}
	l.resume(resumed, s)
	if ids, _ := l.due(resumed.Add(10*time.Second), s); len(ids) != 0 {
		t.Errorf("due %v before a full TTL since the pause", ids)
	}
	if gap.paused(resumed.Add(200*time.Millisecond)) != 0 {
		t.Error("the tick after a pause counts as a pause")
	}
}

func TestDeadLeaseIsNeitherRenewedNorExpired(t *testing.T) {
	s := stateWith(t, 1)
	dead, err := s.KV.Kill(1)
	if err != nil {
		t.Fatal(err)
	}
	c := *s
	c.KV = dead
	l := newLessor(time.Second)
	if got := l.renew(time.Now(), &c, 1); got.ttl != 0 || got.wait != nil || got.unmark != nil {
		t.Errorf("renewal of a dead lease: %d, %v", got.ttl, got.wait)
	}
	if ids, _ := l.due(time.Now().Add(time.Hour), &c); len(ids) != 0 {
		t.Errorf("a dead lease is due again: %v", ids)
	}
	if left, _, ok := l.info(time.Now(), &c, 1); left != 0 || !ok {
		t.Errorf("dead lease: %s left, %v", left, ok)
	}
}

func TestSecondsDoNotOverflow(t *testing.T) {
	now := time.Now()
	if d := now.Add(seconds(9_000_000_000)); !d.After(now.Add(24 * time.Hour)) {
		t.Errorf("deadline of the longest lease is %s", d)
	}
}
