package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

func TestElectionAndApplyOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		l.leader()
		for i := range 30 {
			for name, n := range l.live {
				put(t, n.Node, fmt.Sprintf("/k/%s/%d", name, i), "v")
			}
		}
		l.settle()
		s := l.live["a"].State()
		if s.ClusterID == 0 || s.KV.Len() != 90 {
			t.Errorf("cluster id %d, %d keys; want an id and 90 keys", s.ClusterID, s.KV.Len())
		}
		if s.Term == 0 || l.live["b"].Term() != s.Term {
			t.Errorf("terms %d and %d", s.Term, l.live["b"].Term())
		}
	})
}

func TestFollowerForwardsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		f := l.followers()[0]
		res, err := f.Propose(t.Context(), putCmd("/k", "v", 0))
		if err != nil || res.Revision != 2 || res.Txn == nil {
			t.Fatalf("put through a follower: %+v, %v", res, err)
		}
		if got := counter(t, f.Node, "forwards_total", methodPropose); got != 1 {
			t.Errorf("%v forwards, want 1", got)
		}
		// An error of the state machine arrives as the same error.
		_, err = f.Propose(t.Context(), putCmd("/k", "v", 4711))
		if witness.ErrorCode(err) != witness.CodeKV {
			t.Errorf("put with an unknown lease: %v", err)
		}
		grant(t, f.Node, 7, 10)
		if ttl, err := f.KeepAlive(t.Context(), 7); ttl != 10 || err != nil {
			t.Errorf("keepalive through a follower: %d, %v", ttl, err)
		}
		if ttl, err := f.KeepAlive(t.Context(), 8); ttl != 0 || err != nil {
			t.Errorf("keepalive of no lease: %d, %v; want 0", ttl, err)
		}
		if left, granted, err := f.TimeToLive(t.Context(), 7); left != 10 || granted != 10 || err != nil {
			t.Errorf("time to live %d of %d, %v", left, granted, err)
		}
		if left, _, err := f.TimeToLive(t.Context(), 8); left != -1 || err != nil {
			t.Errorf("time to live of no lease: %d, %v", left, err)
		}
	})
}

func TestLinearizableReadOnFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead, fs := l.leader(), l.followers()
		for i := range 50 {
			key := fmt.Sprintf("/k/%d", i)
			put(t, lead.Node, key, "v")
			f := fs[i%2]
			if err := f.Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			if f.State().KV.Get(key) == nil {
				t.Fatalf("follower does not show %s after the barrier", key)
			}
		}
		l.net.Isolate(fs[0].opts.Name)
		if err := fs[0].Barrier(t.Context()); !errors.Is(err, witness.ErrNoQuorum) {
			t.Errorf("read on a follower that is cut off: %v", err)
		}
	})
}

func TestNoLeaderAnswersWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		f := l.followers()[0]
		l.net.Isolate("a")
		l.net.Isolate("b")
		l.net.Isolate("c")
		time.Sleep(5 * time.Second) // nobody leads any more
		start := time.Now()
		_, err := f.Propose(t.Context(), witness.Touch{})
		if !errors.Is(err, witness.ErrNoQuorum) {
			t.Errorf("proposal without a leader: %v", err)
		}
		if took := time.Since(start); took > requestTime {
			t.Errorf("it took %s", took)
		}
		if c := f.Contact(); c < 4*time.Second {
			t.Errorf("contact age %s after more than 5 s alone", c)
		}
	})
}

func TestExpiryIsNeverForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead, f := l.leader(), l.followers()[0]
		grant(t, lead.Node, 7, 60)
		if _, err := f.ProposeLocal(t.Context(), witness.LeaseExpire{IDs: []int64{7}, Term: lead.Term()}); !errors.Is(err, witness.ErrNoQuorum) {
			t.Errorf("a follower proposed an expiry: %v", err)
		}
		if _, err := f.Propose(t.Context(), witness.LeaseExpire{IDs: []int64{7}, Term: lead.Term()}); witness.ErrorCode(err) != witness.CodeRefused {
			t.Errorf("the leader took an expiry from a follower: %v", err)
		}
		if _, err := lead.ProposeLocal(t.Context(), witness.LeaseExpire{IDs: []int64{7}, Term: lead.Term() - 1}); err != nil {
			t.Error(err)
		}
		if _, ok := lead.State().KV.Lease(7); !ok {
			t.Error("an expiry of an older term took effect")
		}
	})
}

func TestVerifyLeaderSharesRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		lead := l.leader()
		before := counter(t, lead.Node, "verify_rounds_total", "ok")
		for _, f := range l.followers() {
			l.net.Cut(lead.opts.Name, f.opts.Name) // answers are held until all have asked
		}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				called := time.Now()
				start, err := lead.verify(t.Context(), lead.lead.Load())
				if err != nil || start.Before(called) {
					t.Errorf("round of %s for a call of %s: %v", start, called, err)
				}
			})
		}
		synctest.Wait()
		l.net.Heal()
		wg.Wait()
		if got := counter(t, lead.Node, "verify_rounds_total", "ok") - before; got < 1 || got > 4 {
			t.Errorf("%v rounds for 500 concurrent calls", got)
		}
		if err := l.followers()[0].VerifyLeader(t.Context()); !errors.Is(err, witness.ErrNoQuorum) {
			t.Errorf("a follower verified its leadership: %v", err)
		}
	})
}

func TestSnapshotRestoreAndRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(o *Options) { o.SnapshotThreshold, o.TrailingLogs = 16, 4 }, "a", "b", "c")
		f := l.followers()[0].opts.Name
		grant(t, l.leader().Node, 9, 3600)
		l.settle()
		l.crash(f)
		for i := range 200 {
			put(t, l.leader().Node, fmt.Sprintf("/k/%d", i%20), fmt.Sprint(i))
		}
		time.Sleep(10 * time.Minute) // snapshots are looked at every two to four minutes
		for name := range l.live {
			if first, _ := l.disks[name].log.FirstIndex(); first < 100 {
				t.Errorf("log of %s still begins at %d: no snapshot was taken", name, first)
			}
		}
		l.start(f) // has to be sent a snapshot
		put(t, l.live[f].Node, "/after", "v")
		l.settle()
		time.Sleep(10 * time.Minute)
		lead := l.leader().opts.Name
		l.crash(lead)
		l.start(lead) // has to start from its own snapshot
		put(t, l.live[lead].Node, "/after-restart", "v")
		l.settle()
		if l.live[lead].State().KV.Len() != 22 {
			t.Errorf("%d keys, want 22", l.live[lead].State().KV.Len())
		}
	})
}

func TestMembersKnowEachOthersMeta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		l.leader()
		knowsAll := func(n *Node) bool {
			for _, m := range n.Members() {
				if m.Meta["client"] != "http://"+m.Name || m.ID == 0 || !m.Voter {
					return false
				}
			}
			return len(n.Members()) == 3
		}
		for _, n := range l.live {
			until(t, "every node knows the client address of the others", func() bool { return knowsAll(n.Node) })
		}
		// It remembers them across a restart in which nobody else is there.
		l.crash("a")
		l.net.Isolate("a")
		if a := l.start("a"); !knowsAll(a.Node) {
			t.Errorf("after a restart alone: %+v", a.Members())
		}
	})
}

func TestTransferLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		f := l.followers()[0]
		if err := f.TransferLeadership(t.Context(), f.opts.Name); err != nil {
			t.Fatal(err)
		}
		until(t, "the follower leads", f.IsLeader)
		if name, id := l.followers()[0].Leader(); name != f.opts.Name || id != f.MemberID() {
			t.Errorf("leader %q %d", name, id)
		}
	})
}

func TestInternalCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		l.leader()
		for _, n := range l.live {
			n.Handle("test.echo", func(_ context.Context, from string, req []byte) ([]byte, error) {
				if len(req) == 0 {
					return nil, &witness.Error{Code: witness.CodeInvalid, Msg: "empty"}
				}
				return append([]byte(from+":"), req...), nil
			})
		}
		for _, to := range []string{"a", "b", "c"} {
			got, err := l.live["a"].Call(t.Context(), to, "test.echo", []byte("hi"))
			if string(got) != "a:hi" || err != nil {
				t.Errorf("call to %s: %q, %v", to, got, err)
			}
			if _, err := l.live["a"].Call(t.Context(), to, "test.echo", nil); witness.ErrorCode(err) != witness.CodeInvalid {
				t.Errorf("call to %s: %v", to, err)
			}
			if _, err := l.live["a"].Call(t.Context(), to, "test.none", nil); err == nil {
				t.Errorf("unknown call to %s was answered", to)
			}
		}
	})
}

func TestEventsArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a")
		l.leader()
		q := l.live["a"].events
		var mu sync.Mutex
		var got []uint64
		done := make(chan struct{})
		test := newEventQueue(q.dropped)
		test.handle = func(index uint64, _ *witness.State, _ []witness.Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, index)
		}
		for i := range maxBatches + 10 {
			test.put(batch{index: uint64(i)})
		}
		stop := make(chan struct{})
		go func() { defer close(done); test.run(stop) }()
		synctest.Wait()
		test.put(batch{index: 1 << 40})
		close(stop)
		<-done
		if len(got) != maxBatches+1 || got[0] != 10 || got[len(got)-1] != 1<<40 {
			t.Errorf("%d batches, first %d, last %d", len(got), got[0], got[len(got)-1])
		}
		if n := counter(t, l.live["a"].Node, "event_batches_dropped_total", ""); n != 10 {
			t.Errorf("%v dropped, want 10", n)
		}
	})
}
