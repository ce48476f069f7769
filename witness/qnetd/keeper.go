package qnetd

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quorate/witness"
)

// keeper is what the leader does for all sessions: it ends those whose owner has
// been silent for too long, and the votes of those that ended, by its monotonic
// clock. A new leader, or one that was paused, gives everybody the full time.
type keeper struct {
	node    Node
	log     *slog.Logger
	contact time.Duration // of an owner that has not said

	mu     sync.Mutex
	owners map[ownerLife]ownerSeen

	term   uint64
	armed  time.Time
	since  map[witness.QnetdRef]time.Time // when a session, or the end of one, was seen first
	silent map[string]time.Time           // cluster → since when its device gives no full vote
	looked time.Time
	busy   atomic.Bool
	work   sync.WaitGroup
}

type ownerLife struct {
	name string
	boot uint64
}

type ownerSeen struct {
	at      time.Time
	contact time.Duration
}

const (
	keeperTick  = 200 * time.Millisecond
	keeperPause = time.Second      // a gap between two ticks that is a pause
	expireMax   = 512              // sessions that one entry ends
	votingEvery = time.Second      // how often a missing vote is looked for
	votingAfter = 30 * time.Second // how long it is missing before that is an alert
)

// heard notes that an owner lived when a report came.
func (k *keeper) heard(from string, r aliveReport, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.owners == nil {
		k.owners = map[ownerLife]ownerSeen{}
	}
	for life := range k.owners { // a former life of it reports no more
		if life.name == from && life.boot != r.Boot && at.Sub(k.owners[life].at) > 10*time.Minute {
			delete(k.owners, life)
		}
	}
	k.owners[ownerLife{from, r.Boot}] = ownerSeen{at, max(r.Contact, 0)}
}

func (k *keeper) seen(s *witness.QuorumSession) ownerSeen {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen, ok := k.owners[ownerLife{s.Owner, s.Boot}]
	if !ok {
		seen.contact = k.contact
	}
	if seen.at.Before(k.armed) {
		seen.at = k.armed
	}
	return seen
}

func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	defer k.work.Wait()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		paused := now.Sub(last) > keeperPause
		last = now
		if !k.node.IsLeader() {
			k.term = 0
			continue
		}
		s := k.node.State()
		if s.Term != k.term || paused {
			k.term, k.armed, k.since, k.silent = s.Term, now, map[witness.QnetdRef]time.Time{}, map[string]time.Time{}
		}
		k.look(ctx, s, now)
	}
}

// look finds what has expired, and says so in the log.
func (k *keeper) look(ctx context.Context, s *witness.State, now time.Time) {
	var items []witness.QnetdRef
	kept := map[witness.QnetdRef]time.Time{}
	for name, c := range s.Clusters() {
		if c.Quorum == nil {
			continue
		}
		for i := range c.Quorum.Nodes {
			n := &c.Quorum.Nodes[i]
			ref := witness.QnetdRef{Cluster: name, Node: n.ID}
			var limit time.Duration
			at := now
			switch {
			case n.Session != nil:
				seen := k.seen(n.Session)
				ref.Index, at = n.Session.Index, seen.at
				limit = witness.SessionLimit(n.Session.Heartbeat, seen.contact)
			case n.Gone != nil && !n.Gone.Sticky:
				ref.Index, limit = n.Gone.Index, n.Gone.Void()
				if n.Gone.Stale() {
					limit += k.contact
				}
			default:
				continue
			}
			since, ok := k.since[ref]
			if !ok {
				since = now
			}
			kept[ref] = since
			if n.Session == nil || since.After(at) {
				at = since // a report of before it was there says nothing of it
			}
			if now.Sub(at) > limit {
				items = append(items, ref)
			}
		}
	}
	k.since = kept
	if len(items) > 0 {
		k.propose(ctx, witness.QnetdExpire{Items: items[:min(len(items), expireMax)], Term: k.term})
	}
	if now.Sub(k.looked) >= votingEvery {
		k.looked = now
		k.voting(ctx, s, now)
	}
}

// voting makes it an alert when a declared cluster has no full vote of its
// quorum device for a while: nobody else would notice.
func (k *keeper) voting(ctx context.Context, s *witness.State, now time.Time) {
	var items []witness.QnetdVoting
	silent := map[string]time.Time{}
	for name, c := range s.Clusters() {
		if c.Quorum == nil {
			continue
		}
		why := c.Voting()
		if why == "" {
			if c.Quorum.NotVoting != "" {
				items = append(items, witness.QnetdVoting{Cluster: name})
			}
			continue
		}
		since, ok := k.silent[name]
		if !ok {
			since = now
		}
		silent[name] = since
		if c.Quorum.NotVoting != why && now.Sub(since) > votingAfter {
			items = append(items, witness.QnetdVoting{Cluster: name, Why: why})
		}
	}
	k.silent = silent
	if len(items) > 0 {
		k.propose(ctx, witness.QnetdAlert{Items: items[:min(len(items), expireMax)]})
	}
}

// propose commits a command beside the loop, which must go on watching itself.
// While one is under way others are left for the next look.
func (k *keeper) propose(ctx context.Context, cmd witness.Command) {
	if !k.busy.CompareAndSwap(false, true) {
		return
	}
	k.work.Go(func() {
		defer k.busy.Store(false)
		pctx, cancel := context.WithTimeout(ctx, proposeMax)
		defer cancel()
		if _, err := k.node.ProposeLocal(pctx, cmd); err != nil {
			k.log.Debug("not recorded", "what", witness.Kind(cmd), "err", err)
		}
	})
}
