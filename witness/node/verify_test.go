package node

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// A round asks no more voters than it needs, and turns to the others at once when one
// of them does not answer.
func TestSilentVoterDelaysProofOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead := l.leader()
		late := lead.opts.ElectionTimeout / lateAnswer
		verify := func() time.Duration {
			t.Helper()
			start := time.Now()
			if err := lead.VerifyLeader(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		for _, f := range append(l.followers(), l.followers()...) {
			verify()
			l.net.Cut(lead.opts.Name, f.opts.Name)
			slow := 0
			for range 5 {
				took := verify()
				if took >= late {
					slow++
				}
				if took >= 2*late {
					t.Errorf("a proof without %s took %s", f.opts.Name, took)
				}
			}
			if slow > 1 {
				t.Errorf("%d of 5 proofs waited for %s, which is silent", slow, f.opts.Name)
			}
			l.net.Heal()
			l.settle()
		}
		for _, f := range l.followers() {
			l.net.Cut(lead.opts.Name, f.opts.Name)
		}
		if err := lead.VerifyLeader(t.Context()); !errors.Is(err, witness.ErrNoQuorum) {
			t.Errorf("a leader without followers is verified: %v", err)
		}
		l.net.Heal()
	})
}
