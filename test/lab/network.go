package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// link is an unordered pair of bridge ports between which nothing passes. An
// empty b means every other port.
type link struct{ a, b string }

// Isolate cuts the host off from every other host of the lab. Its processes run
// on, its addresses stay, and connections hang as they do behind a dead switch.
func (l *Lab) Isolate(ctx context.Context, h *Host) error {
	l.log.Info("isolate", "host", h.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[link{a: h.name}] = true
	return l.applyCuts(ctx)
}

// Heal undoes Isolate and every Cut of this host.
func (l *Lab) Heal(ctx context.Context, h *Host) error {
	l.log.Info("heal", "host", h.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.cuts {
		if c.a == h.name || c.b == h.name {
			delete(l.cuts, c)
		}
	}
	return l.applyCuts(ctx)
}

// Cut lets nothing pass between two hosts; both still reach all the others.
func (l *Lab) Cut(ctx context.Context, a, b *Host) error {
	return l.Split(ctx, []*Host{a}, []*Host{b})
}

// Split lets nothing pass between two sets of hosts, all of it at one moment.
func (l *Lab) Split(ctx context.Context, a, b []*Host) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			l.log.Info("cut", "host", x.name, "peer", y.name)
			l.cuts[link{a: min(x.name, y.name), b: max(x.name, y.name)}] = true
		}
	}
	return l.applyCuts(ctx)
}

// applyCuts replaces the switch's whole rule set in one transaction. The rules
// work on frames, so address resolution is cut as well.
func (l *Lab) applyCuts(ctx context.Context) error {
	var rules []string
	for c := range l.cuts {
		if c.b == "" {
			rules = append(
				rules,
				fmt.Sprintf("iifname %q drop", c.a),
				fmt.Sprintf("oifname %q drop", c.a),
			)
			continue
		}
		rules = append(
			rules,
			fmt.Sprintf("iifname %q oifname %q drop", c.a, c.b),
			fmt.Sprintf("iifname %q oifname %q drop", c.b, c.a),
		)
	}
	slices.Sort(rules)
	script := "add table bridge lab\ndelete table bridge lab\ntable bridge lab {\n" +
		"chain forward {\ntype filter hook forward priority 0; policy accept;\n" +
		strings.Join(rules, "\n") + "\n}\n}\n"
	_, err := command(ctx, script, "ip", "netns", "exec", l.switchNamespace(), "nft", "-f", "-")
	return err
}
