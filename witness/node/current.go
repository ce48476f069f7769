package node

import (
	"context"
	"time"
)

// followCurrent watches whether the local state may be shown as the present one.
//
// To hear a leader is not enough: after a start, or after a time apart, its
// heartbeats arrive before the entries that were committed meanwhile, and until
// those are applied the state is an old one, empty after a first start. So each
// time contact was lost the node asks the leader how far the log goes, and counts
// as in touch only when it has applied that.
func (n *Node) followCurrent(ctx context.Context) {
	every := n.currentTick()
	caught := false
	for last := time.Now(); pause(ctx, every); last = time.Now() {
		if n.IsLeader() {
			caught = true // a leader has applied everything before it takes office
		} else if n.heard() > n.opts.ElectionTimeout || time.Since(last) > n.opts.ElectionTimeout {
			caught = false
		}
		began := time.Now()
		if !caught {
			caught = n.catchUp(ctx)
		}
		if caught {
			n.current.Store(&began)
		}
	}
}

// catchUp says whether the state is known to hold all that was confirmed before
// the call.
func (n *Node) catchUp(ctx context.Context) bool {
	if _, leader := n.rt().LeaderWithID(); leader == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.ElectionTimeout)
	defer cancel()
	return n.Barrier(ctx) == nil
}

// currentTick is how often it is confirmed that contact was not lost.
func (n *Node) currentTick() time.Duration {
	return min(max(n.opts.ElectionTimeout/20, 5*time.Millisecond), 50*time.Millisecond)
}

// outdated returns how old the local state may be beyond what the age of the last
// contact says: zero as a rule, a very long time before the first contact.
func (n *Node) outdated() time.Duration {
	t := n.current.Load()
	if t == nil {
		return never
	}
	if age := time.Since(*t); age > n.opts.ElectionTimeout {
		return age
	}
	return 0
}

// heard returns how long ago the leader was heard; on a leader, how long ago it
// heard another one.
func (n *Node) heard() time.Duration {
	r := n.rt()
	if r == nil {
		return never
	}
	if t := r.LastContact(); !t.IsZero() {
		return time.Since(t)
	}
	return never
}
