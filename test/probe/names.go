package probe

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Change is a new answer of one DNS server.
type Change struct {
	Server string
	At     time.Time
	// Answer is the addresses, sorted and joined by commas; empty for none, and
	// the error's text after "error: " for no answer.
	Answer string
}

// Names polls servers for the addresses of a name.
type Names struct {
	Name     string
	Servers  []string
	Dial     Dial
	Interval time.Duration

	mu      sync.Mutex
	changes []Change
}

// Run polls every server until the context is cancelled, which is not an error.
func (n *Names) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, server := range n.Servers {
		group.Go(func() { n.watch(ctx, server) })
	}
	group.Wait()
	return nil
}

// Changes returns what was seen so far.
func (n *Names) Changes() []Change {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.changes)
}

// FirstAnswer returns when each server first gave this answer, not before the
// given instant. Servers that did not are missing.
func (n *Names) FirstAnswer(answer string, since time.Time) map[string]time.Time {
	first := map[string]time.Time{}
	for _, c := range n.Changes() {
		if _, seen := first[c.Server]; !seen && c.Answer == answer && !c.At.Before(since) {
			first[c.Server] = c.At
		}
	}
	return first
}

func (n *Names) watch(ctx context.Context, server string) {
	tick := time.NewTicker(n.Interval)
	defer tick.Stop()
	last := "none yet"
	for ctx.Err() == nil {
		addresses, err := ask(ctx, n.Dial, server, n.Name)
		slices.Sort(addresses)
		answer := strings.Join(addresses, ",")
		if err != nil {
			answer = "error: " + err.Error()
		}
		if answer != last && ctx.Err() == nil {
			last = answer
			n.mu.Lock()
			n.changes = append(n.changes, Change{Server: server, At: time.Now(), Answer: answer})
			n.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
