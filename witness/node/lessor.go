package node

import (
	"math"
	"sync"
	"time"

	"quorate/witness"
)

// leaseTick is how often deadlines are looked at.
const leaseTick = 200 * time.Millisecond

// maxExpire bounds the leases that one entry ends.
const maxExpire = 512

// timer is what the leader knows of one lease beyond the state.
type timer struct {
	epoch    uint64
	ttl      int64
	deadline time.Time
	margin   time.Duration // part of the deadline that covers the previous leader's answers
	renewed  time.Time
	expiring chan struct{} // not nil while its end is being committed; closed with the outcome

	mark    time.Time     // when to write down what is left; see checkpoint.go
	marked  bool          // the log may hold such a mark: take it back before an answer to a renewal
	marks   int           // how many were written: taking one back says nothing of a later one
	marking chan struct{} // not nil while one is being committed; closed with the outcome
}

// busy says that an entry about this lease is under way.
func (t *timer) busy() bool { return t.expiring != nil || t.marking != nil }

// lessor holds the deadlines of one leadership, by the monotonic clock of this
// process. A lease that it has not seen before gets its full time from now.
type lessor struct {
	election time.Duration

	mu       sync.Mutex
	closed   bool
	timers   map[int64]*timer
	granting map[int64]int // grants under way, by id
}

func newLessor(election time.Duration) *lessor {
	return &lessor{election: election, timers: map[int64]*timer{}, granting: map[int64]int{}}
}

// promote gives every lease the time that it has left according to the log, or
// else its full time, and an election timeout: the margin covers renewals that
// the previous leader answered until this one was elected.
func (l *lessor) promote(now time.Time, s *witness.State) {
	l.arm(now, s, true)
}

// resume gives every lease its full time after a pause of this process, in which
// renewals were not served; its clients may have been paused as well.
func (l *lessor) resume(now time.Time, s *witness.State) {
	l.arm(now, s, false)
}

func (l *lessor) arm(now time.Time, s *witness.State, marks bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for lease := range s.KV.Leases() {
		t := l.timers[lease.ID]
		if t == nil || t.epoch != lease.Epoch {
			t = &timer{epoch: lease.Epoch}
			l.timers[lease.ID] = t
		}
		t.ttl, t.renewed = lease.TTL, now
		left, first := seconds(lease.TTL), int64(firstMark)
		rest, marked := s.LeaseRest(lease.ID)
		if marked && marks {
			left, first = min(left, max(rest, 0)+drift(lease.TTL)), nextMark
		}
		t.marked = t.marked || marked
		t.mark = now.Add(eighths(first, lease.TTL))
		if d := now.Add(left + l.election); d.After(t.deadline) {
			t.deadline, t.margin = d, l.election
		}
	}
}

// due returns the leases whose deadline has passed, with their epochs, and marks
// them as expiring.
// It also meets new leases and forgets those that are gone.
func (l *lessor) due(now time.Time, s *witness.State) (ids []int64, epochs []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := 0
	for lease := range s.KV.Leases() {
		seen++
		t := l.timerOf(now, s, lease.ID)
		if lease.Dead || t.busy() || l.granting[lease.ID] > 0 || now.Before(t.deadline) || len(ids) >= maxExpire {
			continue
		}
		t.expiring = make(chan struct{})
		ids, epochs = append(ids, lease.ID), append(epochs, t.epoch)
	}
	if len(l.timers) > seen {
		for id, t := range l.timers {
			if _, ok := s.KV.Lease(id); !ok && !t.busy() {
				delete(l.timers, id)
			}
		}
	}
	return ids, epochs
}

// timerOf returns the timer of a lease of s, made now if it is new; nil if s
// has no such lease. The lock is held.
func (l *lessor) timerOf(now time.Time, s *witness.State, id int64) *timer {
	lease, ok := s.KV.Lease(id)
	if !ok {
		return nil
	}
	t := l.timers[id]
	if t == nil || (t.epoch != lease.Epoch && !t.busy()) {
		t = &timer{epoch: lease.Epoch, ttl: lease.TTL, renewed: now, deadline: now.Add(seconds(lease.TTL)), mark: now.Add(eighths(firstMark, lease.TTL))}
		l.timers[id] = t
	}
	return t
}

// settle ends the expiring state of ids, whatever came of it.
func (l *lessor) settle(ids []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if t := l.timers[id]; t != nil && t.expiring != nil {
			close(t.expiring)
			t.expiring = nil
		}
	}
}

// renewal is what became of the attempt to renew a lease.
type renewal struct {
	ttl    int64           // 0: the lease is gone or dead
	wait   <-chan struct{} // not nil: not renewed yet; try again when it is closed
	unmark *unmark         // not nil: renewed, but not to be answered before this is committed
}

// renew moves the deadline of a lease. A lease about which an entry is under way
// has to wait for its fate: it may be gone then, or be marked.
func (l *lessor) renew(now time.Time, s *witness.State, id int64) renewal {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.timerOf(now, s, id)
	switch {
	case t == nil:
		return renewal{}
	case t.expiring != nil:
		return renewal{wait: t.expiring}
	case t.marking != nil:
		return renewal{wait: t.marking}
	}
	lease, _ := s.KV.Lease(id)
	if lease.Dead || l.closed {
		return renewal{}
	}
	t.renewed, t.mark = now, now.Add(eighths(firstMark, lease.TTL))
	if d := now.Add(seconds(lease.TTL)); d.After(t.deadline) {
		t.deadline, t.margin = d, 0
	}
	if t.marked {
		return renewal{unmark: &unmark{witness.LeaseRest{ID: id, Epoch: t.epoch}, t.marks}}
	}
	return renewal{ttl: lease.TTL}
}

// info returns the time left and the time since the last renewal.
func (l *lessor) info(now time.Time, s *witness.State, id int64) (left, since time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.timerOf(now, s, id)
	if t == nil {
		return 0, 0, false
	}
	if lease, _ := s.KV.Lease(id); lease.Dead {
		return 0, now.Sub(t.renewed), true
	}
	return max(0, t.deadline.Sub(now)), now.Sub(t.renewed), true
}

// grantBegin keeps a new lease apart from the expiry of an old one that had the
// same id: an expiry entry behind the grant would end the new lease. It returns
// a channel to wait on if the id is expiring.
func (l *lessor) grantBegin(id int64) (wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.timers[id]; t != nil && t.expiring != nil {
		return t.expiring
	}
	l.granting[id]++
	return nil
}

func (l *lessor) grantEnd(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granting[id]--; l.granting[id] == 0 {
		delete(l.granting, id)
	}
}

// close wakes whoever waits for an outcome.
func (l *lessor) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, t := range l.timers {
		if t.expiring != nil {
			close(t.expiring)
			t.expiring = nil
		}
		if t.marking != nil {
			close(t.marking)
			t.marking = nil
		}
	}
}

// seconds converts without overflow; 9e9 seconds do not fit a time.Duration
// together with a date.
func seconds(ttl int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Second) / 4
	return time.Duration(min(ttl, most)) * time.Second
}
