package node

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// How long writes stand still when a leader vanishes without a word. Virtual
// time: this measures the protocol and its timeouts, not the machine.
func TestFirstWriteAfterTheLeaderVanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		var took []time.Duration
		for range 40 {
			old := l.leader()
			f := l.followers()[0]
			l.net.Isolate(old.opts.Name)
			began := time.Now()
			for {
				if _, err := f.Propose(t.Context(), witness.Touch{}); err == nil {
					break
				}
				if time.Since(began) > 20*time.Second {
					t.Fatal("no write 20 s after the leader vanished")
				}
			}
			took = append(took, time.Since(began))
			l.net.Heal()
			l.settle()
			time.Sleep(time.Second)
		}
		slices.Sort(took)
		p90 := took[len(took)*9/10]
		t.Logf("p50 %s, p90 %s, max %s", took[len(took)/2], p90, took[len(took)-1])
		if p90 > 2*time.Second {
			t.Errorf("nine of ten changes take up to %s", p90)
		}
	})
}
