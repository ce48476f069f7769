package node

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// apply makes the state after one more entry of term 1.
func apply(t *testing.T, s *witness.State, c witness.Command) *witness.State {
	t.Helper()
	s, res, _ := s.Apply(witness.Entry{Index: s.Index + 1, Term: 1, Cmd: c})
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	return s
}

func TestLessorMarks(t *testing.T) {
	t0 := time.Now()
	at := func(sec float64) time.Time { return t0.Add(time.Duration(sec * float64(time.Second))) }
	s := stateWith(t, 1, 2)
	l := newLessor(time.Second)
	l.promote(t0, s)
	l.renew(at(3), s, 2)
	if got := l.unrenewed(at(3.7), s); len(got) != 0 {
		t.Fatalf("marks %v before 3/8 of the TTL", got)
	}
	rests := l.unrenewed(at(4), s)
	if len(rests) != 1 || rests[0].ID != 1 || rests[0].Rest != 6000 {
		t.Fatalf("marks %v; want lease 1 with 6 s, without the margin", rests)
	}
	if got := l.renew(at(4), s, 1); got.wait == nil {
		t.Fatalf("renewed while the mark is being written: %+v", got)
	}
	if got := l.unrenewed(at(5.9), s); len(got) != 0 {
		t.Fatalf("two marks of one lease under way: %v", got)
	}
	s = apply(t, s, witness.LeaseCheckpoint{Rests: rests, Term: 1})
	l.settleMarks(rests)

	// Another leader counts from the mark; without it, from the full time.
	other := newLessor(time.Second)
	other.promote(at(5), s)
	if left, _, _ := other.info(at(5), s, 1); left != 7020*time.Millisecond {
		t.Errorf("the next leader gives %s, want the 6 s that were left, a margin of 1 s and 20 ms of drift", left)
	}
	if left, _, _ := other.info(at(5), s, 2); left != 11*time.Second {
		t.Errorf("the next leader gives %s to a lease without a mark", left)
	}
	if got := other.renew(at(6), s, 1); got.unmark == nil || got.ttl != 0 {
		t.Errorf("the next leader answers a renewal before it takes the mark back: %+v", got)
	}

	// Here the renewal must take the mark back, too; and a mark that was written
	// meanwhile is another one.
	got := l.renew(at(6), s, 1)
	if got.unmark == nil || got.ttl != 0 {
		t.Fatalf("renewal of a marked lease: %+v", got)
	}
	later := l.unrenewed(at(9.8), s)
	l.settleMarks(later)
	l.unmarked([]unmark{*got.unmark})
	if got = l.renew(at(9.9), s, 1); got.unmark == nil {
		t.Fatalf("the later mark was forgotten: %+v", got)
	}
	l.unmarked([]unmark{*got.unmark})
	if got = l.renew(at(9.9), s, 1); got.ttl != 10 {
		t.Errorf("renewal after the mark was taken back: %+v", got)
	}
	// A pause gives the full time in spite of a mark.
	other.resume(at(50), s)
	if left, _, _ := other.info(at(50), s, 1); left != 11*time.Second {
		t.Errorf("%s left after a pause", left)
	}
}

// Leaders that change every half TTL must not postpone the end of a lease for
// ever. A change costs what was not marked yet: 3/8 of the TTL at the first one,
// 1/8 later, and each time the election and its margin.
func TestFlappingLeadersDoNotKeepALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 20
		for i := range 8 {
			l := newLab(t, nil, "a", "b", "c")
			id := int64(i + 1)
			grant(t, l.leader().Node, id, ttl)
			put(t, l.leader().Node, "/held", "v")
			granted := time.Now()
			time.Sleep(time.Duration(i) * ttl * time.Second / 16) // the first change comes at another phase
			changes := 0
			for ; time.Since(granted) < 3*ttl*time.Second; changes++ {
				if _, ok := l.leader().State().KV.Lease(id); !ok {
					break
				}
				old := l.leader()
				l.net.Isolate(old.opts.Name)
				l.leader(old.opts.Name)
				l.net.Heal()
				l.settle()
				for end := time.Now().Add(ttl * time.Second / 2); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					if _, ok := l.leader().State().KV.Lease(id); !ok {
						break
					}
				}
			}
			lived := time.Since(granted)
			most := time.Duration(ttl)*time.Second*13/8 + time.Duration(changes)*4*300*time.Millisecond + time.Second
			t.Logf("first change after %d/16 of the TTL: lived %s, %d changes", i, lived, changes)
			if lived < ttl*time.Second || lived > most {
				t.Errorf("lease of %d s lived %s with %d changes of leader, want %ds to %s", ttl, lived, changes, ttl, most)
			}
			l.stop()
			clear(l.live)
		}
	})
}

// A client that renews late, so that marks are written, and leaders that change
// at the worst moments: its lease may never end within a TTL of an answer.
func TestLateRenewalsOutliveLeaderChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		t.Logf("seed %d of the fault times (Raft has its own randomness)", seed)
		l := newLab(t, nil, "a", "b", "c")
		const ttl = 4 * time.Second
		grant(t, l.leader().Node, 1, 4)
		acked := time.Now()
		names := []string{"a", "b", "c"}
		renewed, marks := 0, 0.0
		for round := range 150 {
			if _, ok := l.leader().State().KV.Lease(1); !ok {
				if lived := time.Since(acked); lived < ttl {
					t.Fatalf("round %d: the lease ended %s after an answer", round, lived)
				}
				grant(t, l.leader().Node, 1, 4) // the client was too late
				acked = time.Now()
			}
			time.Sleep(time.Until(acked.Add(ttl*2/5 + time.Duration(rnd.Int64N(int64(ttl/2))))))
			old := l.leader()
			marks += counter(t, old.Node, "lease_marks_total", "")
			change := func() {
				l.net.Isolate(old.opts.Name)
				l.leader(old.opts.Name)
			}
			if rnd.IntN(2) == 0 { // before the renewal, or right behind it
				change()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := l.live[names[rnd.IntN(3)]].KeepAlive(ctx, 1)
			cancel()
			if err == nil && got == 0 && time.Since(acked) < ttl {
				t.Fatalf("round %d: the lease was gone %s after an answer", round, time.Since(acked))
			}
			if err == nil && got > 0 {
				acked, renewed = time.Now(), renewed+1
			}
			if l.leader() == old {
				change()
			}
			// Nobody renews now. The leader counts from the log.
			for time.Since(acked) < ttl-50*time.Millisecond && rnd.IntN(3) == 0 {
				time.Sleep(time.Until(acked.Add(ttl - 50*time.Millisecond)))
				for name, n := range l.live {
					if _, ok := n.State().KV.Lease(1); !ok && name != old.opts.Name {
						t.Fatalf("round %d: %s lost the lease %s after an answer", round, name, time.Since(acked))
					}
				}
			}
			l.net.Heal()
			l.settle()
		}
		if renewed < 50 || marks < 50 {
			t.Errorf("%d renewals and %v marks: this test shows nothing", renewed, marks)
		}
	})
}

// While all renew as clients do, nothing is written.
func TestPunctualRenewalsWriteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead := l.leader()
		ttls := []int64{2, 5, 20, 60}
		for i, ttl := range ttls {
			grant(t, lead.Node, int64(i+1), ttl)
		}
		end := time.Now().Add(6 * time.Minute)
		done := make(chan error, len(ttls))
		for i, ttl := range ttls {
			go func() {
				for time.Now().Before(end) {
					time.Sleep(time.Duration(ttl) * time.Second / 3)
					if _, err := l.live["b"].KeepAlive(context.Background(), int64(i+1)); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		time.Sleep(time.Minute) // all are in step
		before := lead.State().Index
		time.Sleep(5*time.Minute - time.Second)
		if now := lead.State().Index; now != before {
			t.Errorf("%d entries were written while all leases were renewed in time", now-before)
		}
		for range ttls {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// A late renewal pays with one entry, and 500 at once share a few.
func TestLateRenewalsShareEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead := l.leader()
		const leases = 500
		for i := range leases {
			grant(t, lead.Node, int64(i+1), 20)
		}
		time.Sleep(15 * time.Second)
		before := lead.State().Index
		done := make(chan error, leases)
		disk := l.disks[lead.opts.Name].log
		disk.stall() // the first entry is under way until all have asked
		for i := range leases {
			go func() {
				_, err := l.live["a"].KeepAlive(context.Background(), int64(i+1))
				done <- err
			}()
		}
		time.Sleep(100 * time.Millisecond) // in the bubble: all of them wait
		disk.thaw()
		for range leases {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got := lead.State().Index - before; got < 1 || got > 5 {
			t.Errorf("%d entries for %d late renewals", got, leases)
		}
		for i := range leases {
			if rest, ok := lead.State().LeaseRest(int64(i + 1)); ok {
				t.Fatalf("lease %d was renewed and the log says that it has %s left", i+1, rest)
			}
		}
	})
}
