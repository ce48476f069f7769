package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"quorate/witness"
)

// Timing of the reach probe.
type Timing struct {
	Interval time.Duration // between rounds; default 500 ms
	Timeout  time.Duration // of one connection; default 1 s
	Fall     int           // failed rounds until "down"; default 3
}

func (t Timing) withDefaults() Timing {
	if t.Interval <= 0 {
		t.Interval = 500 * time.Millisecond
	}
	if t.Timeout <= 0 {
		t.Timeout = time.Second
	}
	if t.Fall <= 0 {
		t.Fall = 3
	}
	return t
}

// finding is what this witness thinks of one host now.
type finding struct {
	down   bool
	known  bool
	detail string
}

// reach probes one host until ctx ends.
type reach struct {
	host    string
	timing  Timing
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	targets func() []string // addresses host:port; none = nothing to probe

	mu    sync.Mutex
	fails int
	now   finding
}

func (r *reach) run(ctx context.Context, notify func()) {
	ticker := time.NewTicker(r.timing.Interval)
	defer ticker.Stop()
	for {
		if r.round(ctx) {
			notify()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round tries all targets at once and says whether the finding changed. The
// host is there if any of them accepts.
func (r *reach) round(ctx context.Context) bool {
	targets := r.targets()
	if len(targets) == 0 {
		return r.set(finding{}, 0)
	}
	rctx, cancel := context.WithTimeout(ctx, r.timing.Timeout)
	defer cancel()
	errs := make(chan error, len(targets))
	for _, addr := range targets {
		go func() {
			conn, err := r.dial(rctx, "tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			errs <- err
		}()
	}
	var last error
	ok := false
	for range targets {
		if err := <-errs; err == nil {
			ok = true
			cancel()
		} else if !errors.Is(err, context.Canceled) {
			last = err
		}
	}
	if ctx.Err() != nil {
		return false
	}
	if ok {
		return r.set(finding{known: true, detail: "connects"}, 0)
	}
	r.mu.Lock()
	fails := r.fails + 1
	r.mu.Unlock()
	if fails < r.timing.Fall {
		r.mu.Lock()
		r.fails = fails
		r.mu.Unlock()
		return false
	}
	return r.set(finding{known: true, down: true, detail: fmt.Sprintf("%d rounds failed: %v", r.timing.Fall, last)}, fails)
}

func (r *reach) set(f finding, fails int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = fails
	changed := f.known != r.now.known || f.down != r.now.down
	r.now = f
	return changed
}

func (r *reach) get() finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// targetsOf returns where the services of a host listen, by the keys of the
// member that runs on it: its REST API and its database.
func targetsOf(s *witness.State, host string) []string {
	name, member, ok := s.MemberOn(host)
	if !ok {
		return nil
	}
	m := s.Cluster(name).MemberNamed(member)
	if m == nil {
		return nil
	}
	var out []string
	for _, raw := range []string{m.APIURL, m.ConnURL} {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" && u.Port() != "" {
			out = append(out, net.JoinHostPort(u.Hostname(), u.Port()))
		}
	}
	return out
}
