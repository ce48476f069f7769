package demo

import (
	"context"
	"fmt"
	"sync"

	"quorate/fencing/simulated"
)

// host is one simulated machine: a member on it, and a BMC that can really
// switch it off and on.
type host struct {
	name   string
	member *member
	bmc    *simulated.BMC
	parent context.Context

	mu   sync.Mutex
	stop context.CancelFunc // nil while it is off
	done chan struct{}
	err  error
}

func newHost(ctx context.Context, name string, m *member) (*host, error) {
	h := &host{name: name, member: m, parent: ctx}
	bmc, err := simulated.New(simulated.Config{
		Systems: []simulated.System{{HostName: name}},
		OnOff:   func(context.Context, string) error { h.cut(); return nil },
		OnOn:    func(context.Context, string) error { h.boot(); return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("BMC of %s: %w", name, err)
	}
	h.bmc = bmc
	return h, nil
}

// boot starts everything that runs on the host.
func (h *host) boot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil || h.parent.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(h.parent)
	done := make(chan struct{})
	h.stop, h.done = cancel, done
	go func() {
		defer close(done)
		if err := h.member.run(ctx); err != nil {
			h.mu.Lock()
			h.err = err
			h.mu.Unlock()
		}
	}()
}

// cut ends everything that runs on the host at once, and returns when nothing
// runs any more.
func (h *host) cut() {
	h.mu.Lock()
	stop, done := h.stop, h.done
	h.stop = nil
	h.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
}

func (h *host) fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
