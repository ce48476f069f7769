package witness_test

import (
	"testing"
	"time"

	"quorate/witness"
)

// log applies commands as entries of term 3.
type log struct {
	t *testing.T
	s *witness.State
}

func (l *log) do(c witness.Command) {
	l.t.Helper()
	before := l.s
	l.s, _, _ = l.s.Apply(witness.Entry{Index: l.s.Index + 1, Term: 3, Cmd: c})
	for _, v := range witness.Violations(before, l.s) {
		l.t.Error(v)
	}
}

func (l *log) rest(id int64, want time.Duration) {
	l.t.Helper()
	if got, ok := l.s.LeaseRest(id); got != want || ok != (want != 0) {
		l.t.Errorf("lease %d has %s left (%v), want %s", id, got, ok, want)
	}
}

func (l *log) mark(id int64, rest int64) {
	l.t.Helper()
	lease, _ := l.s.KV.Lease(id)
	l.do(witness.LeaseCheckpoint{Term: 3, Rests: []witness.LeaseRest{{ID: id, Epoch: lease.Epoch, Rest: rest}}})
}

func TestLeaseCheckpoint(t *testing.T) {
	l := &log{t, witness.New()}
	l.do(witness.LeaseGrant{ID: 1, TTL: 20})
	l.do(witness.LeaseGrant{ID: 2, TTL: 20})
	l.rest(1, 0)
	l.mark(1, 7500)
	l.rest(1, 7500*time.Millisecond)
	l.rest(2, 0)

	digest := l.s.Digest()
	l.s = restored(t, l.s)
	l.rest(1, 7500*time.Millisecond)
	if l.s.Digest() != digest {
		t.Error("another digest after a snapshot")
	}

	lease, _ := l.s.KV.Lease(1)
	for name, c := range map[string]witness.LeaseCheckpoint{
		"another term":        {Term: 2, Rests: []witness.LeaseRest{{ID: 1, Epoch: lease.Epoch, Rest: 1}}},
		"another incarnation": {Term: 3, Rests: []witness.LeaseRest{{ID: 1, Epoch: lease.Epoch + 1, Rest: 1}}},
		"a negative rest":     {Term: 3, Rests: []witness.LeaseRest{{ID: 1, Epoch: lease.Epoch, Rest: -1}}},
		"a rest beyond a TTL": {Term: 3, Rests: []witness.LeaseRest{{ID: 1, Epoch: lease.Epoch, Rest: 20000}}},
		"no such lease":       {Term: 3, Rests: []witness.LeaseRest{{ID: 9, Epoch: 1, Rest: 1}}},
	} {
		l.do(c)
		if got, _ := l.s.LeaseRest(1); got != 7500*time.Millisecond {
			t.Fatalf("%s: %s left", name, got)
		}
	}
	// A renewal takes the mark back, whatever the term.
	l.do(witness.LeaseCheckpoint{Term: 1, Rests: []witness.LeaseRest{{ID: 1, Epoch: lease.Epoch}}})
	l.rest(1, 0)

	// The mark of an incarnation does not outlive it.
	l.mark(2, 100)
	l.do(witness.LeaseRevoke{ID: 2})
	l.do(witness.LeaseGrant{ID: 2, TTL: 20})
	l.rest(2, 0)
	lease, _ = l.s.KV.Lease(2)
	l.mark(2, 100)
	l.do(witness.LeaseExpire{IDs: []int64{2}, Epochs: []uint64{lease.Epoch}, Term: 3})
	l.do(witness.LeaseGrant{ID: 2, TTL: 20})
	l.rest(2, 0)
}

// Two witnesses that disagree about a mark have to notice.
func TestCheckpointIsPartOfTheDigest(t *testing.T) {
	a, b := &log{t, witness.New()}, &log{t, witness.New()}
	for _, l := range []*log{a, b} {
		l.do(witness.LeaseGrant{ID: 1, TTL: 20})
	}
	a.mark(1, 5000)
	b.mark(1, 5001)
	if a.s.Digest() == b.s.Digest() {
		t.Error("different marks, the same digest")
	}
}
