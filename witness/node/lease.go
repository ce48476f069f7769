package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// keepLeases ends leases whose deadline has passed, until the leadership ends.
// The loop watches itself: if it was not run for some ticks, neither were the
// renewals, so every lease gets its full time again, as after an election.
func (n *Node) keepLeases(l *leadership, r *raft.Raft) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	busy := make(chan struct{}, 1) // one expiry or mark at a time, beside the loop: it must go on watching itself
	gap := gapWatch{last: time.Now(), longest: n.longestGap()}
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		now := time.Now() // not the tick's own time, which is as old as a pause
		if pause := gap.paused(now); pause > 0 {
			n.metrics.pauses.Inc()
			n.opts.Log.Warn("this witness was paused; all leases start anew", "pause", pause)
			l.lease.resume(now, n.State())
			continue
		}
		n.keepContact(l)
		select {
		case busy <- struct{}{}:
		default:
			continue
		}
		ids, epochs := l.lease.due(now, n.State())
		rests := l.lease.unrenewed(now, n.State())
		if len(ids)+len(rests) == 0 {
			<-busy
			continue
		}
		work.Go(func() {
			defer func() { <-busy }()
			if len(rests) > 0 {
				n.mark(l, r, rests)
			}
			if len(ids) > 0 {
				n.expire(l, r, witness.LeaseExpire{IDs: ids, Epochs: epochs, Term: l.term}, now)
			}
		})
	}
}

// gapWatch notices that its caller was not run for a while: SIGSTOP, a frozen
// virtual machine, a starved processor.
type gapWatch struct {
	last    time.Time
	longest time.Duration
}

// paused returns the time since its last call if that was too long, or 0.
func (g *gapWatch) paused(now time.Time) time.Duration {
	gap := now.Sub(g.last)
	g.last = now
	if gap > g.longest {
		return gap
	}
	return 0
}

// longestGap is the longest time between two ticks that is not a pause.
func (n *Node) longestGap() time.Duration { return max(3*leaseTick, n.opts.HeartbeatTimeout) }

// keepContact has leadership proven often enough for [Node.Contact].
func (n *Node) keepContact(l *leadership) {
	if t := n.verified.Load(); t != nil && time.Since(*t) < n.opts.ElectionTimeout/2 {
		return
	}
	n.background.start(func() { _, _ = n.verify(l.ctx, l) }) // a failure shows as age
}

// expire proves leadership and then commits the end of the leases. The entry
// carries the term, and Apply ignores it under any other: only the leader that
// watched the deadline may act on it. It is never forwarded.
func (n *Node) expire(l *leadership, r *raft.Raft, end witness.LeaseExpire, seen time.Time) {
	defer l.lease.settle(end.IDs)
	ctx, cancel := context.WithTimeout(l.ctx, requestTime)
	defer cancel()
	if _, err := n.verify(ctx, l); err != nil {
		return
	}
	if time.Since(seen) > n.longestGap() {
		return // paused or too slow: the next tick decides afresh
	}
	// Not bounded by ctx: until the entry's fate is known the leases stay
	// expiring, or a renewal could be answered for a lease that this entry ends.
	if _, err := n.append(l.ctx, l, r, end); err != nil {
		n.opts.Log.Warn("expiry of leases was not committed", "leases", len(end.IDs), "err", err)
	}
}

// KeepAlive renews a lease and returns its TTL in seconds, or 0 if the lease is
// gone or dead. The answer is given by a leader that proved its leadership
// after the call; if there is none, the error is a no-quorum error, and whether
// the lease was renewed is not known.
func (n *Node) KeepAlive(ctx context.Context, id int64) (ttl int64, err error) {
	err = n.atLeader(ctx, harmless, methodKeepAlive, idRequest(id), func(ctx context.Context, l *leadership) error {
		ttl, err = n.renew(ctx, l, id)
		return err
	}, func(resp []byte) error { return json.Unmarshal(resp, &ttl) })
	return ttl, err
}

func (n *Node) renew(ctx context.Context, l *leadership, id int64) (int64, error) {
	for {
		start, err := n.verify(ctx, l)
		if err != nil {
			return 0, err
		}
		now := time.Now()
		if now.Sub(start) > n.opts.ElectionTimeout {
			// We were paused behind the proof. A new leader may have been elected
			// since, and its deadlines cover one election timeout, not more.
			continue
		}
		got := l.lease.renew(now, n.State(), id)
		if got.unmark != nil {
			// The next leader would count from the mark. Once that is committed, prove
			// leadership again: the entry may have taken a while.
			if err := n.unmark(ctx, l, *got.unmark); err != nil {
				return 0, err
			}
			continue
		}
		if got.wait == nil {
			if l.ctx.Err() != nil {
				return 0, errNotLeading
			}
			return got.ttl, nil
		}
		select {
		case <-got.wait:
		case <-ctx.Done():
			return 0, errNotLeading
		}
	}
}

// LeaseInfo returns how long a lease has left and how long ago it was renewed,
// as its deadlines on this node say. ok is false if this node does not lead or
// has no such lease.
func (n *Node) LeaseInfo(id int64) (remaining, sinceRenewal time.Duration, ok bool) {
	l := n.lead.Load()
	if l == nil || !l.isReady() {
		return 0, 0, false
	}
	return l.lease.info(time.Now(), n.State(), id)
}

// leaseTime is the answer to TimeToLive between nodes.
type leaseTime struct {
	Remaining int64 `json:"remaining"`
	Granted   int64 `json:"granted"`
}

// TimeToLive returns the seconds that a lease has left, rounded up, and its
// TTL; remaining is -1 if there is no such lease and 0 if it is dead. Errors as
// [Node.KeepAlive].
func (n *Node) TimeToLive(ctx context.Context, id int64) (remaining, granted int64, err error) {
	var t leaseTime
	err = n.atLeader(ctx, harmless, methodTimeToLive, idRequest(id), func(ctx context.Context, l *leadership) error {
		t, err = n.timeToLive(ctx, l, id)
		return err
	}, func(resp []byte) error { return json.Unmarshal(resp, &t) })
	return t.Remaining, t.Granted, err
}

func (n *Node) timeToLive(ctx context.Context, l *leadership, id int64) (leaseTime, error) {
	if _, err := n.verify(ctx, l); err != nil {
		return leaseTime{}, err
	}
	s := n.State()
	left, _, ok := l.lease.info(time.Now(), s, id)
	if !ok {
		return leaseTime{Remaining: -1}, nil
	}
	lease, _ := s.KV.Lease(id)
	return leaseTime{Remaining: int64((left + time.Second - 1) / time.Second), Granted: lease.TTL}, nil
}

// leaseFloor is the shortest TTL in seconds: a lease must outlive an election.
func (n *Node) leaseFloor() int64 {
	return int64((n.opts.ElectionTimeout*3/2 + time.Second - 1) / time.Second)
}

func idRequest(id int64) []byte { return fmt.Appendf(nil, "%d", id) }

func (n *Node) answerKeepAlive(ctx context.Context, _ string, req []byte) ([]byte, error) {
	return n.answerLease(ctx, req, func(l *leadership, id int64) (any, error) { return n.renew(ctx, l, id) })
}

func (n *Node) answerTimeToLive(ctx context.Context, _ string, req []byte) ([]byte, error) {
	return n.answerLease(ctx, req, func(l *leadership, id int64) (any, error) { return n.timeToLive(ctx, l, id) })
}

func (n *Node) answerLease(ctx context.Context, req []byte, f func(*leadership, int64) (any, error)) ([]byte, error) {
	var id int64
	if err := json.Unmarshal(req, &id); err != nil {
		return nil, &witness.Error{Code: witness.CodeInvalid, Msg: "malformed lease id"}
	}
	l, err := n.readyLead(ctx)
	if err != nil {
		return nil, errNotTaken
	}
	v, err := f(l, id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
