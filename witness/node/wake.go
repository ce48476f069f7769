package node

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// waker makes a follower stand for election as soon as its leader is gone.
//
// hashicorp/raft looks at the age of the last contact only when a timer of one
// to two heartbeat timeouts fires, and starts that timer anew whatever it saw:
// a dead leader is noticed after 1 to 3 timeouts. ReloadConfig with a shorter
// HeartbeatTimeout makes the timer fire at once (raft v1.8.0, api.go 781 and
// raft.go 211), and the age is then compared with the new timeout. The waker
// does that, and takes it back as soon as there is contact.
//
// It cannot depose a leader that lives: a candidate asks for pre-votes first,
// and whoever hears the leader refuses. It is about time only, never about
// safety.
//
// A voter that still believes in the old leader refuses as well, so in a cluster
// of three both followers have to stand, and at the same moment they would split
// the vote. They take turns by name: the first stands, is refused, and is a
// candidate without a leader from then on; the next one sees that request and
// stands in turn, until one finds a majority. Raft's own timer must not break
// into that: two candidates whose requests cross grant each other the pre-vote
// and then split the vote. So a follower rests with a heartbeat timeout that
// ends after the turns of those before it.
type waker struct {
	n      *Node
	r      *raft.Raft
	normal raft.ReloadableConfig // as configured
	set    raft.ReloadableConfig // in force
	lease  time.Duration         // raft refuses a heartbeat timeout below it
	every  time.Duration

	last    time.Time // the last look
	resumed time.Time // end of the last pause of this process
	leader  string    // the last one known
	seen    map[string]time.Time
	woken   time.Time // zero = not woken

	probing atomic.Bool
	refused atomic.Pointer[refusal]
	probed  chan struct{} // a probe has an answer
}

// refusal says that the address of a leader refused a connection: nobody
// listens there any more. It is void as soon as the leader is heard again.
type refusal struct {
	leader  string
	contact time.Time // the last contact when it was asked
}

func newWaker(n *Node, r *raft.Raft) *waker {
	now, normal := time.Now(), r.ReloadableConfig()
	return &waker{
		n: n, r: r, normal: normal, set: normal, lease: n.opts.LeaderLeaseTimeout,
		every: min(max(n.opts.HeartbeatTimeout/20, 5*time.Millisecond), 50*time.Millisecond),
		last:  now, resumed: now, seen: map[string]time.Time{}, probed: make(chan struct{}, 1),
	}
}

// watchLeader runs a waker until ctx ends.
func (n *Node) watchLeader(ctx context.Context, r *raft.Raft) {
	w := newWaker(n, r)
	stood := make(chan raft.Observation, 16)
	o := raft.NewObserver(stood, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.RequestPreVoteRequest)
		return ok
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	defer w.reload(w.normal)
	timer := time.NewTimer(w.every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-stood:
			w.seen[string(o.Data.(raft.RequestPreVoteRequest).ID)] = time.Now()
		case <-w.probed:
		case <-timer.C:
		}
		timer.Reset(w.look(ctx, time.Now()))
	}
}

// look does what is due and returns when to look again.
func (w *waker) look(ctx context.Context, now time.Time) time.Duration {
	if now.Sub(w.last) > max(4*w.every, w.normal.HeartbeatTimeout/3) {
		w.resumed = now // it was us who did not listen
	}
	w.last = now
	contact, state := w.r.LastContact(), w.r.State()
	_, leader := w.r.LeaderWithID()
	if leader != "" {
		w.leader = string(leader)
	}
	if !w.woken.IsZero() {
		heard := leader != "" && now.Sub(contact) < w.normal.HeartbeatTimeout
		if state == raft.Leader || heard || now.Sub(w.woken) > w.normal.ElectionTimeout {
			w.restore()
		}
		return w.every
	}
	rank, quorum, ok := w.place()
	if state != raft.Follower || contact.IsZero() || !ok {
		w.reload(w.normal)
		return w.every
	}
	w.reload(w.rest(rank))
	age := now.Sub(contact)
	if paused := now.Sub(w.resumed); paused < age {
		age = paused
	}
	if age < w.normal.HeartbeatTimeout/4 {
		return w.every // leaders are heard every tenth to fifth of a timeout
	}
	gone := w.isRefused(contact)
	if !gone {
		w.probe(ctx, contact)
	}
	wait := w.turn(gone, rank, quorum, now) - age
	if wait > 0 {
		return min(wait, w.every)
	}
	w.wake(gone, now)
	return w.every
}

// place returns this node's turn among the voters that are left, and how many
// votes make a leader. ok is false if it has no vote.
func (w *waker) place() (rank, quorum int, ok bool) {
	voters := votersOf(w.r)
	quorum = len(voters)/2 + 1
	if len(voters) < 2 {
		return 0, quorum, false
	}
	slices.Sort(voters)
	voters = slices.DeleteFunc(voters, func(v string) bool { return v == w.leader && v != w.n.opts.Name })
	rank = slices.Index(voters, w.n.opts.Name)
	return rank, quorum, rank >= 0
}

// turn returns the age of the last contact at which this node stands: the
// leader lease timeout if the leader's process is gone, else the heartbeat
// timeout; later, if the nodes whose turn is before have not stood. Nodes beyond
// the quorum are not needed and only stand when the others did not succeed.
func (w *waker) turn(gone bool, rank, quorum int, now time.Time) time.Duration {
	limit := w.normal.HeartbeatTimeout
	if gone {
		limit = w.lease
	}
	stood := 0
	for _, at := range w.seen {
		if now.Sub(at) < w.normal.ElectionTimeout {
			stood++
		}
	}
	if rank >= quorum || stood < rank {
		limit += w.patience(rank)
	}
	return limit
}

// patience is how much longer than the first a node waits for its turn. The last
// contacts of two followers lie up to a fifth of a heartbeat timeout and a round
// trip apart: it has to be more than that.
func (w *waker) patience(rank int) time.Duration {
	return time.Duration(rank) * w.normal.HeartbeatTimeout / 2
}

// rest returns the timeouts of a follower that nobody has woken.
func (w *waker) rest(rank int) raft.ReloadableConfig {
	c := w.normal
	c.HeartbeatTimeout += w.patience(rank)
	c.ElectionTimeout = max(c.ElectionTimeout, c.HeartbeatTimeout) // raft asks for that
	return c
}

// wake makes Raft look at the age of the last contact now.
func (w *waker) wake(gone bool, now time.Time) {
	c, reason := w.normal, "silent"
	c.HeartbeatTimeout -= time.Millisecond
	if gone {
		reason = "refused"
		c.HeartbeatTimeout = min(c.HeartbeatTimeout, w.lease)
		c.ElectionTimeout = max(w.lease, c.ElectionTimeout/2) // the other's log may be newer: it stands again soon
	}
	if c.HeartbeatTimeout < w.lease {
		return // the timeouts leave no room; Raft's own timer has to do
	}
	w.woken = now
	w.n.metrics.wakes.WithLabelValues(reason).Inc()
	w.reload(c)
}

// restore gives Raft its configured timeouts back after a wake.
func (w *waker) restore() {
	w.woken = time.Time{}
	clear(w.seen)
	w.reload(w.normal)
}

func (w *waker) reload(c raft.ReloadableConfig) {
	if c == w.set {
		return
	}
	if err := w.r.ReloadConfig(c); err != nil {
		w.n.opts.Log.Error("the timeouts of Raft were not changed", "err", err)
		return
	}
	w.set = c
}

func (w *waker) isRefused(contact time.Time) bool {
	r := w.refused.Load()
	return r != nil && r.leader == w.leader && r.contact.Equal(contact)
}

// probe connects to the leader if there is no connection that works: a dead
// process has lost its connections, and its host refuses new ones.
func (w *waker) probe(ctx context.Context, contact time.Time) {
	leader := w.leader
	if leader == "" || leader == w.n.opts.Name || !w.probing.CompareAndSwap(false, true) {
		return
	}
	w.n.background.start(func() {
		defer w.probing.Store(false)
		ctx, cancel := context.WithTimeout(ctx, w.normal.HeartbeatTimeout)
		defer cancel()
		if _, err := w.n.links.connect(ctx, leader); errors.Is(err, syscall.ECONNREFUSED) {
			w.refused.Store(&refusal{leader: leader, contact: contact})
			select {
			case w.probed <- struct{}{}:
			default:
			}
		}
	})
}
