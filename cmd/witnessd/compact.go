package main

import (
	"context"
	"log/slog"
	"time"

	"quorate/witness"
	"quorate/witness/etcdapi"
)

// How much key history is kept: both an hour and ten thousand revisions, unless
// that would fill half of the quota. Then ten thousand revisions are enough, or
// many busy clusters would be refused their puts long before the hour is over.
const (
	compactEvery = 15 * time.Second
	compactAge   = time.Hour
	compactRevs  = 10000
)

// compactor lets the leader drop old key history, since Patroni never does.
type compactor struct {
	node interface {
		State() *witness.State
		IsLeader() bool
		ProposeLocal(ctx context.Context, c witness.Command) (witness.Result, error)
	}
	log *slog.Logger
}

// Run compacts until ctx ends.
func (c *compactor) Run(ctx context.Context) error {
	ticker := time.NewTicker(compactEvery)
	defer ticker.Stop()
	var seen []int64 // revision at each tick, oldest first
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		store := c.node.State().KV
		var target int64
		seen, target = compactTarget(seen, store.Revision(), store.Size() > etcdapi.DefaultQuota/2)
		if target <= store.CompactRevision() || !c.node.IsLeader() {
			continue
		}
		pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if _, err := c.node.ProposeLocal(pctx, witness.Compact{Rev: target}); err != nil {
			c.log.Debug("history not compacted yet", "revision", target, "err", err)
		}
		cancel()
	}
}

// compactTarget notes the present revision and returns up to where history is
// both old and long enough to go, or long enough when it is full; 0 means nowhere.
func compactTarget(seen []int64, now int64, full bool) ([]int64, int64) {
	seen = append(seen, now)
	if full {
		return seen[max(0, len(seen)-int(compactAge/compactEvery)-1):], max(0, now-compactRevs)
	}
	if n := int(compactAge / compactEvery); len(seen) > n+1 {
		seen = seen[len(seen)-n-1:]
	} else if len(seen) <= n {
		return seen, 0
	}
	return seen, max(0, min(seen[0], now-compactRevs))
}
