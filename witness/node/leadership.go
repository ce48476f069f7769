package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// leadership is one term in which this node leads. All that only a leader has,
// the clock and the deadlines, lives and dies with it.
type leadership struct {
	term  uint64
	ctx   context.Context // ends with the leadership
	clock clock
	lease *lessor

	unmarker unmarker

	work chan func() // for the goroutines of serveWork

	ready chan struct{} // closed when the barrier and the first entry are applied
}

func (l *leadership) isReady() bool {
	select {
	case <-l.ready:
		return l.ctx.Err() == nil
	default:
		return false
	}
}

// clock is cluster time on a leader: the state's time at its election plus its
// own monotonic time since. It never runs backwards, and stands still while
// there is no leader.
type clock struct {
	mu    sync.Mutex
	base  witness.Time
	since time.Time
	last  witness.Time
}

func (c *clock) start(base witness.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.since, c.last = base, time.Now(), base
}

func (c *clock) now() witness.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, c.base+time.Since(c.since))
	return c.last
}

// following lasts as long as this node believes in the same leader.
type following struct {
	ctx context.Context
	end context.CancelFunc
}

func newFollowing() *following {
	ctx, cancel := context.WithCancel(context.Background())
	return &following{ctx, cancel}
}

// followLeader ends the present following whenever Raft changes its mind about
// who leads, also to "nobody".
func (n *Node) followLeader(ctx context.Context, r *raft.Raft) {
	changes := make(chan raft.Observation, 16)
	o := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	for {
		select {
		case <-changes:
			n.followed.Swap(newFollowing()).end()
		case <-ctx.Done():
			n.followed.Load().end()
			return
		}
	}
}

// followLeadership starts and ends leaderships as Raft elects and deposes us.
func (n *Node) followLeadership(ctx context.Context, r *raft.Raft) {
	var end func()
	defer func() {
		if end != nil {
			end()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-r.LeaderCh():
			// Raft drops signals that nobody took: a second "true" is a new term.
			if end != nil {
				end()
				end = nil
			}
			if leads {
				end = n.beginLeadership(ctx, r)
			}
		}
	}
}

// beginLeadership returns a function that ends it and waits for its goroutines.
func (n *Node) beginLeadership(parent context.Context, r *raft.Raft) (end func()) {
	ctx, cancel := context.WithCancel(parent)
	l := &leadership{term: r.CurrentTerm(), ctx: ctx, ready: make(chan struct{}), work: make(chan func())}
	l.lease = newLessor(n.opts.ElectionTimeout)
	for range workers {
		n.background.start(l.serveWork) // refused in a shutdown, when nobody needs them
	}
	n.lead.Store(l)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.leadTerm(l, r)
	}()
	return func() {
		n.lead.CompareAndSwap(l, nil)
		cancel()
		<-done
		l.lease.close()
	}
}

// leadTerm takes office and then keeps the leases: first everything committed
// is applied, then an entry makes the term visible, then all leases get their
// full time, and only then is anything answered.
func (n *Node) leadTerm(l *leadership, r *raft.Raft) {
	for {
		err := n.await(l.ctx, r.Barrier(0))
		if err == nil {
			break
		}
		if !pause(l.ctx, 50*time.Millisecond) {
			return
		}
	}
	if r.State() != raft.Leader || r.CurrentTerm() != l.term {
		return // a signal that came late; the next one follows
	}
	l.clock.start(n.State().Now)
	first := witness.Command(witness.Touch{})
	if n.State().ClusterID == 0 {
		first = witness.Bootstrap{ClusterID: randomID()}
	}
	for {
		_, err := n.append(l.ctx, l, r, first)
		if err == nil {
			break
		}
		n.opts.Log.Warn("first entry of the term was not committed", "term", l.term, "err", err)
		if !pause(l.ctx, 50*time.Millisecond) {
			return
		}
	}
	l.lease.promote(time.Now(), n.State())
	close(l.ready)
	n.opts.Log.Info("this witness leads", "term", l.term, "index", n.State().Index)
	n.keepLeases(l, r)
}

// await waits for a future of Raft, but not longer than ctx. It calls the given
// functions when the future is done, even if that is after it returned.
func (n *Node) await(ctx context.Context, f raft.Future, then ...func()) error {
	done := make(chan error, 1)
	// The goroutine ends with the future, and Raft answers those at shutdown.
	started := n.background.start(func() {
		done <- f.Error()
		for _, g := range then {
			g()
		}
	})
	if !started {
		return raft.ErrRaftShutdown
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                      // never fails since Go 1.24
	return binary.BigEndian.Uint64(b[:])>>1 | 1 // positive also as int64: etcd clients print it
}

// IsLeader reports whether this node leads and has taken office. It may be out
// of date; [Node.VerifyLeader] is not.
func (n *Node) IsLeader() bool {
	l := n.lead.Load()
	return l != nil && l.isReady()
}

// Leader returns the name and member id of the leader as far as this node
// knows; "" and 0 if it knows none.
func (n *Node) Leader() (name string, id uint64) {
	r := n.rt()
	if r == nil {
		return "", 0
	}
	_, sid := r.LeaderWithID()
	if sid == "" {
		return "", 0
	}
	return string(sid), MemberIDOf(string(sid))
}

// Term returns the Raft term of the last applied entry. It never inflates in a
// node that is cut off and stands for election.
func (n *Node) Term() uint64 { return n.State().Term }

// Now returns cluster time: of this moment on the leader, of the last applied
// entry elsewhere.
func (n *Node) Now() witness.Time {
	if l := n.lead.Load(); l != nil && l.isReady() {
		return l.clock.now()
	}
	return n.State().Now
}
