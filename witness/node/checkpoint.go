package node

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// A lease that nobody renews gets marks in the log: how long it has left. A new
// leader gives it that time instead of its full time again, so that leaders that
// change often cannot postpone its end for ever.
//
// Clients renew at a third of the TTL or earlier, so the first mark comes later
// than that, at 3/8, and nothing is written while all renew. From then on there
// is one at every 1/8 of the TTL; all that are due share an entry.
const (
	firstMark = 3 // eighths of the TTL after a renewal
	nextMark  = 1
	maxMarks  = 1024 // leases in one entry
)

func eighths(n, ttl int64) time.Duration { return seconds(ttl) / 8 * time.Duration(n) }

// drift covers two clocks that differ by a thousandth each over a whole TTL:
// the one that measured what is left, and the one that counts it down.
func drift(ttl int64) time.Duration { return seconds(ttl) / 500 }

// unrenewed returns what to write about leases that were not renewed for long
// enough. They cannot be renewed until settleMarks.
func (l *lessor) unrenewed(now time.Time, s *witness.State) []witness.LeaseRest {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []witness.LeaseRest
	for lease := range s.KV.Leases() {
		t := l.timerOf(now, s, lease.ID)
		if lease.Dead || t.busy() || t.epoch != lease.Epoch || l.granting[lease.ID] > 0 || now.Before(t.mark) || len(out) >= maxMarks {
			continue
		}
		rest := t.deadline.Add(-t.margin).Sub(now) // the next leader adds its own margin
		t.mark = now.Add(eighths(nextMark, lease.TTL))
		ms := max((rest + time.Millisecond - 1).Milliseconds(), 1)
		if ms >= lease.TTL*1000 {
			continue // as good as no mark
		}
		t.marking, t.marked = make(chan struct{}), true
		t.marks++
		out = append(out, witness.LeaseRest{ID: lease.ID, Epoch: lease.Epoch, Rest: ms})
	}
	return out
}

// settleMarks allows renewals again, whatever came of the entry. They take the
// mark back first, with an entry that stands behind it in the log.
func (l *lessor) settleMarks(rests []witness.LeaseRest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rests {
		if t := l.timers[r.ID]; t != nil && t.marking != nil {
			close(t.marking)
			t.marking = nil
		}
	}
}

// unmark takes a mark back, and all that were written before it.
type unmark struct {
	witness.LeaseRest
	marks int
}

// unmarked records that marks were taken back.
func (l *lessor) unmarked(backs []unmark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range backs {
		if t := l.timers[b.ID]; t != nil && t.epoch == b.Epoch && t.marks == b.marks {
			t.marked = false
		}
	}
}

// mark commits what is left of leases that nobody renews.
func (n *Node) mark(l *leadership, r *raft.Raft, rests []witness.LeaseRest) {
	defer l.lease.settleMarks(rests)
	// Not bounded in time: a renewal may only be answered by an entry behind this one.
	if _, err := n.append(l.ctx, l, r, witness.LeaseCheckpoint{Rests: rests, Term: l.term}); err != nil {
		n.opts.Log.Warn("the time that leases have left was not recorded", "leases", len(rests), "err", err)
		return
	}
	n.metrics.marks.Add(float64(len(rests)))
}

// unmarker takes marks back, many in one entry: whoever asks while an entry is
// under way shares the next one.
type unmarker struct {
	mu      sync.Mutex
	next    *unmarking
	running bool
}

type unmarking struct {
	backs []unmark
	done  chan struct{}
	err   error
}

// unmark takes the mark of a lease back. It returns nil when that is committed.
func (n *Node) unmark(ctx context.Context, l *leadership, back unmark) error {
	u := &l.unmarker
	u.mu.Lock()
	if u.next == nil {
		u.next = &unmarking{done: make(chan struct{})}
	}
	batch := u.next
	batch.backs = append(batch.backs, back)
	if !u.running {
		if !n.background.start(func() { n.unmarkAll(l) }) {
			u.mu.Unlock()
			return errNotLeading
		}
		u.running = true
	}
	u.mu.Unlock()
	select {
	case <-batch.done:
		return batch.err
	case <-ctx.Done():
		return errNotLeading
	}
}

func (n *Node) unmarkAll(l *leadership) {
	u := &l.unmarker
	for {
		u.mu.Lock()
		batch := u.next
		u.next = nil
		if batch == nil {
			u.running = false
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		cmd := witness.LeaseCheckpoint{Term: l.term}
		for _, b := range batch.backs {
			cmd.Rests = append(cmd.Rests, b.LeaseRest)
		}
		if _, err := n.append(l.ctx, l, n.rt(), cmd); err != nil {
			batch.err = errNotLeading
		} else {
			l.lease.unmarked(batch.backs)
		}
		close(batch.done)
	}
}
