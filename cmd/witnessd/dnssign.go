package main

import (
	"context"
	"log/slog"
	"time"

	"quorate/dnsfailover"
	"quorate/witness"
)

// resignAfter is the age of the last DNS change at which the leader lets all
// witnesses sign their zones anew: resolvers and secondaries keep what they have for
// a while, so long before the signatures end.
const resignAfter = dnsfailover.SignatureLife / 4

// resigner keeps the signatures of zones fresh when nothing else changes them. The
// wall clock decides about nothing but that.
type resigner struct {
	node interface {
		State() *witness.State
		IsLeader() bool
		ProposeLocal(ctx context.Context, c witness.Command) (witness.Result, error)
	}
	log   *slog.Logger
	signs bool // there are keys
}

// Run looks every minute until ctx ends.
func (r *resigner) Run(ctx context.Context) error {
	if !r.signs {
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		r.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *resigner) look(ctx context.Context, now time.Time) {
	s := r.node.State()
	if !r.node.IsLeader() || len(s.Config.Zones) == 0 || now.Sub(time.UnixMilli(s.DNSWall)) < resignAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := r.node.ProposeLocal(ctx, witness.RefreshDNS{}); err != nil {
		r.log.Warn("the zones are not signed anew; the next try comes in a minute", "err", err)
	}
}
