//go:build integration

package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/test/lab"
)

// newLab makes a lab whose logs are in out/lab/<name of the test>.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	dir := filepath.Join(root(t), "out", "lab", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	acts, err := os.Create(filepath.Join(dir, "lab.log"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(t.Context(), lab.Options{LogDir: dir, Logger: slog.New(slog.NewTextHandler(acts, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := l.Cleanup(ctx); err != nil {
			t.Error(err)
		}
		_ = acts.Close()
		if t.Failed() {
			t.Logf("the logs of this case are in %s", dir)
		}
	})
	return l
}

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// program builds a command of this module and returns the path of its binary.
func program(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(root(t), "out", "lab", "bin", filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+pkg)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// side is the nodes with the given numbers, 1 for the first.
func (c *Cluster) side(ids ...int) []*Node {
	var nodes []*Node
	for _, id := range ids {
		nodes = append(nodes, c.Nodes[id-1])
	}
	return nodes
}

// waitSeen waits until a node is seen in a state after the given moment, and
// returns how long after it that was.
func (c *Cluster) waitSeen(t *testing.T, what string, n *Node, since time.Time, want func(Span) bool) time.Duration {
	t.Helper()
	var at time.Time
	err := lab.Until(t.Context(), bound, n.Name+" "+what, func(context.Context) error {
		var err error
		at, err = c.FirstSeen(n, since, want)
		if err == nil && at.IsZero() {
			err = fmt.Errorf("last seen: %s", c.last(n))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return at.Sub(since)
}

func (c *Cluster) last(n *Node) string {
	seen, err := c.Spans(n)
	if err != nil || len(seen) == 0 {
		return fmt.Sprint("nothing ", err)
	}
	s := seen[len(seen)-1]
	return fmt.Sprintf("quorate %t in %v until %s", s.Quorate, s.Members, s.To.Format("15:04:05.000"))
}

// split is how a cut of the ring ended.
type split struct {
	winners, losers []*Node
	won, lost       time.Duration // until the last node of either side knew
}

// String is for the log of a test.
func (s split) String() string {
	return fmt.Sprintf("%s won after %s, the others lost after %s", names(s.winners), ms(s.won), ms(s.lost))
}

func names(nodes []*Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return strings.Join(out, ",")
}

// waitSplit waits until, since the given moment, every node of one of the sides
// is quorate in a membership of just this side, and no other node is. The vote may
// go to any of the sides: when the witnesses change their leader at that moment,
// it goes to the side that is there first.
func (c *Cluster) waitSplit(t *testing.T, since time.Time, sides ...[]*Node) split {
	t.Helper()
	var s split
	err := lab.Until(t.Context(), bound, "one side to win", func(context.Context) error {
		var seen []string
		for _, n := range c.Nodes {
			seen = append(seen, n.Name+" "+c.last(n))
		}
		for _, side := range sides {
			wins := func(s Span) bool { return s.Quorate && len(s.Members) == len(side) }
			loses := func(s Span) bool { return !s.Quorate }
			if !c.now(side, since, wins) || !c.now(c.Others(side...), since, loses) {
				continue
			}
			var err1, err2 error
			s.winners, s.losers = side, c.Others(side...)
			s.won, err1 = c.all(s.winners, since, wins)
			s.lost, err2 = c.all(s.losers, since, loses)
			return errors.Join(err1, err2)
		}
		return errors.New(strings.Join(seen, "; "))
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// now says whether all of the nodes were last seen in a state, after the moment.
func (c *Cluster) now(nodes []*Node, since time.Time, want func(Span) bool) bool {
	for _, n := range nodes {
		seen, err := c.Spans(n)
		if err != nil || len(seen) == 0 {
			return false
		}
		if s := seen[len(seen)-1]; !want(s) || !s.To.After(since) {
			return false
		}
	}
	return true
}

// all returns how long after the given moment the last of the nodes was seen in
// a state, 0 while one was not.
func (c *Cluster) all(nodes []*Node, since time.Time, want func(Span) bool) (time.Duration, error) {
	var last time.Duration
	for _, n := range nodes {
		at, err := c.FirstSeen(n, since, want)
		if err != nil || at.IsZero() {
			return 0, err
		}
		last = max(last, at.Sub(since))
	}
	return last, nil
}

// worst returns the longest overlap of two quorate sides that had both settled,
// and the longest with one that had not yet noticed.
func (c *Cluster) worst(t *testing.T) (settled, unnoticed time.Duration) {
	t.Helper()
	all, err := c.Overlaps()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Settled {
			settled = max(settled, o.Length())
		} else {
			unnoticed = max(unnoticed, o.Length())
		}
	}
	return settled, unnoticed
}

// ms is a time for people.
func ms(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
