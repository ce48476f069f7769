package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

func TestIsolatedLeaderAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		for i := range 10 {
			old := l.leader()
			id := int64(100 + i)
			grant(t, old.Node, id, 5)
			l.net.Isolate(old.opts.Name)
			cut := time.Now()
			var wg sync.WaitGroup
			// Raft itself steps down only after its lease timeout: ask at once, and go on asking.
			for time.Since(cut) < 10*time.Second {
				wg.Go(func() {
					if ttl, err := old.KeepAlive(t.Context(), id); !errors.Is(err, witness.ErrNoQuorum) {
						t.Errorf("isolated leader answered a renewal: ttl %d, %v", ttl, err)
					}
				})
				wg.Go(func() {
					if err := old.VerifyLeader(t.Context()); !errors.Is(err, witness.ErrNoQuorum) {
						t.Errorf("isolated leader is verified: %v", err)
					}
				})
				wg.Go(func() {
					if err := old.Barrier(t.Context()); !errors.Is(err, witness.ErrNoQuorum) {
						t.Errorf("isolated leader allows a read: %v", err)
					}
				})
				time.Sleep(23 * time.Millisecond)
			}
			wg.Wait()
			if _, ok := l.leader(old.opts.Name).State().KV.Lease(id); ok {
				t.Errorf("lease %d still lives %s after its last renewal", id, time.Since(cut))
			}
			l.net.Heal()
			l.settle()
		}
	})
}

// leaseWatch renews a lease through changing nodes and knows the last moment at
// which a renewal was acknowledged.
type leaseWatch struct {
	id, ttl int64
	acked   atomic.Int64 // UnixNano of the last acknowledged renewal
	stop    chan struct{}
	done    chan struct{}
}

func watchLease(t *testing.T, l *lab, id, ttl int64) *leaseWatch {
	grant(t, l.leader().Node, id, ttl)
	w := &leaseWatch{id: id, ttl: ttl, stop: make(chan struct{}), done: make(chan struct{})}
	w.acked.Store(time.Now().UnixNano())
	names := []string{"a", "b", "c"}
	go func() {
		defer close(w.done)
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			case <-time.After(time.Duration(ttl) * time.Second / 4):
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := l.live[names[i%3]].KeepAlive(ctx, id)
			cancel()
			if err == nil && got == 0 {
				since := time.Since(time.Unix(0, w.acked.Load()))
				if since < time.Duration(ttl)*time.Second {
					t.Errorf("lease %d was gone %s after an acknowledged renewal", id, since)
				}
				return
			}
			if err == nil {
				w.acked.Store(time.Now().UnixNano())
			}
		}
	}()
	return w
}

// gone waits until no node has the lease and returns how long after the last
// acknowledgement the first node lost it.
func (w *leaseWatch) gone(t *testing.T, l *lab) time.Duration {
	t.Helper()
	var lost time.Time
	until(t, "the lease expires", func() bool {
		for _, n := range l.live {
			if _, ok := n.State().KV.Lease(w.id); !ok {
				lost = time.Now()
				return true
			}
		}
		return false
	})
	return lost.Sub(time.Unix(0, w.acked.Load()))
}

func TestLeaseExpiresInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		for i, ttl := range []int64{1, 2, 5, 20} {
			w := watchLease(t, l, int64(i+1), ttl)
			time.Sleep(30 * time.Second)
			close(w.stop)
			<-w.done
			after, least := w.gone(t, l), time.Duration(ttl)*time.Second
			if most := least + 2*300*time.Millisecond + time.Second; after < least || after > most {
				t.Errorf("lease of %d s ended %s after the last renewal; want %s to %s", ttl, after, least, most)
			}
		}
	})
}

func TestLeaseOutlivesLeaderChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		rnd := rand.New(rand.NewPCG(seed, 0))
		t.Logf("seed %d of the fault times (Raft has its own randomness)", seed)
		l := newLab(t, nil, "a", "b", "c")
		w := watchLease(t, l, 42, 6)
		for range 60 {
			old := l.leader()
			switch rnd.IntN(3) {
			case 0:
				l.net.Isolate(old.opts.Name)
				l.leader(old.opts.Name)
			case 1:
				_ = old.TransferLeadership(t.Context(), "") // may lose against an election
			case 2:
				name := old.opts.Name
				f := l.followers()[0].opts.Name
				l.net.Cut(name, f) // the leader keeps the other follower
			}
			time.Sleep(time.Duration(rnd.IntN(2500)) * time.Millisecond)
			l.net.Heal()
			time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
			for name, n := range l.live {
				if _, ok := n.State().KV.Lease(42); !ok {
					t.Fatalf("lease is gone on %s although it was renewed %s ago", name, time.Since(time.Unix(0, w.acked.Load())))
				}
			}
		}
		// The last change is over; from here on it may live one more full time.
		l.settle()
		close(w.stop)
		<-w.done
		if after := w.gone(t, l); after < 6*time.Second || after > 9*time.Second {
			t.Errorf("lease ended %s after the last renewal", after)
		}
	})
}

// A leader crash while the expiry is under way must neither lose the expiry nor
// end a lease that was renewed at the new leader.
func TestUnrenewedLeaseEndsAfterLeaderCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		for i := range 8 {
			id := int64(i + 1)
			lead := l.leader()
			grant(t, lead.Node, id, 3)
			granted := time.Now()
			// Around the deadline: before it, in the tick that sees it, and after.
			time.Sleep(2900*time.Millisecond + time.Duration(i)*50*time.Millisecond)
			name := lead.opts.Name
			l.crash(name)
			until(t, "the lease expires under the next leader", func() bool {
				_, ok := l.leader().State().KV.Lease(id)
				return !ok
			})
			if after := time.Since(granted); after < 3*time.Second || after > 15*time.Second {
				t.Errorf("lease %d ended %s after its grant", id, after)
			}
			l.start(name)
			l.settle()
		}
	})
}

// The log is held up while a lease is revoked and its id taken again, and the
// deadline of the first passes meanwhile: its expiry must not follow them.
func TestSameLeaseIDIsNotEndedByAnOldExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead := l.leader()
		log := l.disks[lead.opts.Name].log
		for range 10 {
			grant(t, lead.Node, 5, 1)
			time.Sleep(700 * time.Millisecond)
			log.stall()
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = lead.Propose(t.Context(), witness.LeaseRevoke{ID: 5}) })
			time.Sleep(10 * time.Millisecond)
			var res witness.Result
			var err error
			wg.Go(func() { res, err = lead.Propose(t.Context(), witness.LeaseGrant{ID: 5, TTL: 1}) })
			time.Sleep(time.Second) // the deadline passes
			log.thaw()
			wg.Wait()
			granted := time.Now()
			if err != nil {
				t.Fatalf("second grant: %v", err)
			}
			until(t, "the second lease expires", func() bool {
				_, ok := lead.State().KV.Lease(5)
				return !ok
			})
			if lived := time.Since(granted); lived < time.Second {
				t.Errorf("lease granted at entry %d lived only %s", res.Index, lived)
			}
		}
	})
}

func TestClusterClockNeverRunsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		began := time.Now()
		var last witness.Time
		look := func() {
			t.Helper()
			for _, n := range l.live {
				if n.IsLeader() && n.VerifyLeader(t.Context()) == nil {
					now := n.Now()
					if now < last {
						t.Fatalf("cluster time went from %s back to %s", last, now)
					}
					if real := time.Since(began); now > real {
						t.Fatalf("cluster time %s is ahead of the %s that passed", now, real)
					}
					if s := n.State(); s.Now > now {
						t.Fatalf("state is of %s, the clock says %s", s.Now, now)
					}
					last = now
				}
			}
		}
		for i := range 20 {
			old := l.leader()
			for j := range 20 {
				put(t, old.Node, fmt.Sprintf("/k/%d", j), fmt.Sprint(i))
				look()
				time.Sleep(37 * time.Millisecond)
			}
			l.net.Isolate(old.opts.Name)
			l.leader(old.opts.Name)
			look()
			l.net.Heal()
			l.settle()
		}
		if last < 10*time.Second {
			t.Errorf("cluster time only reached %s", last)
		}
	})
}

func TestStalledDiskGivesUpLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(o *Options) { o.DiskTimeout = 2 * time.Second }, "a", "b", "c")
		old := l.leader()
		name := old.opts.Name
		grant(t, old.Node, 3, 5)
		l.disks[name].log.stall()
		began := time.Now()
		go func() { _, _ = old.Propose(context.Background(), putCmd("/stuck", "v", 0)) }()
		next := l.leader(name)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("another leader after %s", took)
		}
		put(t, next.Node, "/after", "v")
		if err := old.VerifyLeader(t.Context()); err == nil {
			t.Error("the stalled leader proved its leadership")
		}
		if ttl, err := old.KeepAlive(t.Context(), 3); err == nil {
			t.Errorf("the stalled leader renewed a lease for %d s", ttl)
		}
		time.Sleep(10 * time.Second)
		l.disks[name].log.thaw()
		until(t, "the node follows the new leader", func() bool { return old.State().KV.Get("/after") != nil })
		l.settle()
		if old.State().KV.Get("/stuck") != nil {
			t.Error("an entry of the stalled leader was applied although another leader took over before it was sent")
		}
	})
}

func TestDiskLostForGoodStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(o *Options) { o.DiskTimeout = time.Second }, "a", "b", "c")
		old := l.leader()
		name := old.opts.Name
		l.disks[name].log.stall()
		go func() { _, _ = old.Propose(context.Background(), witness.Touch{}) }()
		err := <-old.done
		delete(l.live, name)
		if !errors.Is(err, errDiskStalled) {
			t.Errorf("Run ended with %v", err)
		}
		l.disks[name].log.thaw() // for the goroutines of Raft, which a real process takes with it
	})
}

func TestAddAndRemoveMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		put(t, l.leader().Node, "/k", "v")
		f := l.followers()[0]
		d := l.start("d")
		if err := f.AddMember(t.Context(), "d", "d"); err != nil {
			t.Fatal(err)
		}
		l.settle()
		if len(d.Members()) != 4 || d.State().KV.Get("/k") == nil {
			t.Errorf("new member: %+v", d.Members())
		}
		if err := l.leader().AddMember(t.Context(), "e", "a"); witness.ErrorCode(err) != witness.CodeConflict {
			t.Errorf("an address in use was accepted: %v", err)
		}
		gone := "a"
		if err := l.leader().RemoveMember(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		l.crash(gone)
		put(t, l.leader().Node, "/k", "w")
		l.settle()
		if got := len(d.Members()); got != 3 {
			t.Errorf("%d members after a removal", got)
		}
	})
}
