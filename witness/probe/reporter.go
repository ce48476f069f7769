package probe

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"quorate/witness"
)

// Node is what the reporter needs of the replicated log.
type Node interface {
	Name() string
	State() *witness.State
	Changed() <-chan struct{}
	// Propose commits a command through whoever leads; witness.ErrNoQuorum if
	// nobody does.
	Propose(ctx context.Context, c witness.Command) (witness.Result, error)
}

// Sessions tells which addresses keep connections to this witness.
type Sessions interface {
	// Connections returns the number of open client connections by remote IP.
	Connections() map[string]int
}

// Reporter probes all declared hosts and reports edges. The fields are set
// before Run.
type Reporter struct {
	Node     Node
	Sessions Sessions
	Timing   Timing
	Log      *slog.Logger
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // nil = net.Dialer

	probes  map[string]*probeHandle
	lostAt  map[string]time.Time // host → when its last session ended
	downAt  map[witness.Observation]time.Time
	wake    chan struct{}
	waiting sync.WaitGroup
}

type probeHandle struct {
	*reach
	cancel context.CancelFunc
}

const (
	reportEvery  = 200 * time.Millisecond
	sessionGrace = time.Second // a client that only reconnects is not gone
	reportMax    = 3 * time.Second
	batchMax     = 500
)

// Run probes and reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	r.Timing = r.Timing.withDefaults()
	if r.Dial == nil {
		r.Dial = (&net.Dialer{}).DialContext
	}
	r.probes, r.lostAt, r.downAt = map[string]*probeHandle{}, map[string]time.Time{}, map[witness.Observation]time.Time{}
	r.wake = make(chan struct{}, 1)
	defer r.waiting.Wait()
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	version := uint64(0)
	for {
		if s := r.Node.State(); s.ConfigVersion != version {
			r.follow(ctx, s)
			version = s.ConfigVersion
		}
		r.report(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-r.wake:
		}
	}
}

// follow starts probes for new hosts and stops those of hosts that are gone.
func (r *Reporter) follow(ctx context.Context, s *witness.State) {
	for name, h := range r.probes {
		if s.Config.Host(name) == nil {
			h.cancel()
			delete(r.probes, name)
		}
	}
	for i := range s.Config.Hosts {
		name := s.Config.Hosts[i].Name
		if r.probes[name] != nil {
			continue
		}
		pctx, cancel := context.WithCancel(ctx)
		p := &reach{host: name, timing: r.Timing, dial: r.Dial, targets: func() []string { return targetsOf(r.Node.State(), name) }}
		r.probes[name] = &probeHandle{p, cancel}
		r.waiting.Go(func() {
			p.run(pctx, func() {
				select {
				case r.wake <- struct{}{}:
				default:
				}
			})
		})
	}
}

// report proposes whatever the replicated state does not know yet.
func (r *Reporter) report(ctx context.Context) {
	s, now := r.Node.State(), time.Now()
	lost := r.lostSessions(s, now)
	var items []witness.Observation
	for i := range s.Config.Hosts {
		host := s.Config.Hosts[i].Name
		if p := r.probes[host]; p != nil {
			items = r.edge(items, s, host, witness.SignalReach, p.get(), now)
		}
		items = r.edge(items, s, host, witness.SignalSession, lost[host], now)
		if len(items) >= batchMax {
			break
		}
	}
	if len(items) == 0 {
		return
	}
	pctx, cancel := context.WithTimeout(ctx, reportMax)
	defer cancel()
	if _, err := r.Node.Propose(pctx, witness.Observe{Witness: r.Node.Name(), Items: items}); err != nil {
		r.Log.Debug("observations not recorded", "items", len(items), "err", err)
		return
	}
	for _, item := range items {
		item.Detail = ""
		r.downAt[item] = now
	}
}

// edge adds an observation if the state knows otherwise, or if a "down" has to
// be asserted again.
func (r *Reporter) edge(items []witness.Observation, s *witness.State, host, kind string, f finding, now time.Time) []witness.Observation {
	if !f.known {
		return items
	}
	known, down, old := false, false, false
	h := s.Host(host)
	for _, sig := range h.Signals {
		if sig.Kind == kind && sig.Witness == r.Node.Name() {
			known, down, old = true, sig.Down, sig.Term != s.Term
		}
	}
	obs := witness.Observation{Host: host, Kind: kind, Down: f.down}
	// A new leader believes only what was asserted under its own term.
	again := f.down && !h.Fenced && (old || now.Sub(r.downAt[obs]) > witness.SignalRefresh)
	// An "up" that was never down needs no entry, except for sessions: that one
	// witness still has them is what contradicts the others.
	news := known && down != f.down || !known && (f.down || kind == witness.SignalSession)
	if news || again {
		obs.Detail = f.detail
		items = append(items, obs)
	}
	return items
}

// lostSessions says which hosts keep connections to this witness, and which
// had some and lost them all for longer than the grace.
func (r *Reporter) lostSessions(s *witness.State, now time.Time) map[string]finding {
	open := map[string]int{}
	for ip, n := range r.Sessions.Connections() {
		if host, ok := s.HostByAddress(ip); ok {
			open[host] += n
		}
	}
	out := map[string]finding{}
	for host := range open {
		delete(r.lostAt, host)
		out[host] = finding{known: true, detail: "connected"}
	}
	for i := range s.Config.Hosts {
		host := s.Config.Hosts[i].Name
		if open[host] > 0 || !r.hadSession(s, host) {
			continue
		}
		at, ok := r.lostAt[host]
		if !ok {
			r.lostAt[host] = now
			continue
		}
		if now.Sub(at) >= sessionGrace {
			out[host] = finding{known: true, down: true, detail: "all its connections to this witness ended"}
		}
	}
	return out
}

func (r *Reporter) hadSession(s *witness.State, host string) bool {
	for _, sig := range s.Host(host).Signals {
		if sig.Kind == witness.SignalSession && sig.Witness == r.Node.Name() {
			return true
		}
	}
	return false
}
