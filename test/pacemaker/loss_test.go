//go:build integration

package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"quorate/test/lab"
)

// rounds is how often a case that can vary is repeated: a handful in CI, more in
// make soak.
func rounds(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("QUORATE_PACEMAKER_ROUNDS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// moments are the phases of a vote at which the leader can die, by what can be
// seen of them from outside.
var moments = []struct {
	name string
	seen func(c *Cluster, since time.Time) (bool, error)
}{
	{"before anybody has noticed", func(*Cluster, time.Time) (bool, error) { return true, nil }},
	{"memberships are told", func(c *Cluster, _ time.Time) (bool, error) { return c.logged("A new membership") }},
	{"a side was told NACK", func(c *Cluster, since time.Time) (bool, error) {
		return c.anySeen(since, func(s Span) bool { return !s.Quorate })
	}},
	{"a side was told ACK", func(c *Cluster, since time.Time) (bool, error) {
		return c.anySeen(since, func(s Span) bool { return s.Quorate && len(s.Members) == 1 })
	}},
}

// TestLeaderDiesDuringRingCut kills the witnesses' leader at every phase of a
// vote: one side wins, and never two.
func TestLeaderDiesDuringRingCut(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}})
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	n := rounds(t, len(moments))
	for i := range n {
		leader, err := w.WaitLeader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		name := "at a random moment"
		var delay time.Duration
		if n > len(moments) {
			delay = time.Duration(random.Int64N(int64(3500 * time.Millisecond)))
		}
		c.truncateLogs(t)
		cut := time.Now()
		if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
			t.Fatal(err)
		}
		if delay > 0 {
			time.Sleep(delay)
		} else {
			m := moments[i%len(moments)]
			name = m.name
			err := lab.Until(t.Context(), bound, m.name, func(context.Context) error {
				yes, err := m.seen(c, cut)
				if err == nil && !yes {
					err = errors.New("not yet")
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		after := time.Since(cut)
		w.Kill(leader)
		s := c.waitSplit(t, cut, c.side(1), c.side(2))
		t.Logf("%s killed %s, %s after the cut (seed %d): %s", leader.Name, name, ms(after), seed, s)
		if err := w.Start(leader); err != nil {
			t.Fatal(err)
		}
		healed(t, c)
		c.neverTwoSides(t)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// anySeen says whether some node was seen in a state after the given moment.
func (c *Cluster) anySeen(since time.Time, want func(Span) bool) (bool, error) {
	for _, n := range c.Nodes {
		at, err := c.FirstSeen(n, since, want)
		if err != nil || !at.IsZero() {
			return err == nil, err
		}
	}
	return false, nil
}

// logged says whether corosync of some node has written a text since truncateLogs.
func (c *Cluster) logged(text string) (bool, error) {
	for _, n := range c.Nodes {
		raw, err := os.ReadFile(n.logs + "/corosync/corosync.log")
		if err != nil {
			return false, err
		}
		if strings.Contains(string(raw), text) {
			return true, nil
		}
	}
	return false, nil
}

func (c *Cluster) truncateLogs(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		if err := os.Truncate(n.logs+"/corosync/corosync.log", 0); err != nil {
			t.Fatal(err)
		}
	}
}

// neverInquorate fails the test if a node was seen without quorum since then.
func (c *Cluster) neverInquorate(t *testing.T, since time.Time, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		lost, err := c.Unquorate(n, since)
		if err != nil {
			t.Fatal(err)
		}
		if lost > 0 {
			t.Errorf("%s was without quorum for %s", n.Name, ms(lost))
		}
	}
}

// TestWitnessesIsolatedInTurn: whichever witness is cut off, the cluster keeps
// its quorum, and the one that is cut off keeps no session.
func TestWitnessesIsolatedInTurn(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}})
	hold := 6 * time.Second
	if os.Getenv("QUORATE_PACEMAKER_ROUNDS") != "" {
		hold = time.Minute
	}
	since := time.Now()
	for _, x := range w.Nodes {
		if err := c.lab.Isolate(t.Context(), x.Host); err != nil {
			t.Fatal(err)
		}
		cut := time.Now()
		err := lab.Until(t.Context(), bound, x.Name+" to refuse connections", func(ctx context.Context) error {
			conn, err := x.Host.DialContext(ctx, "tcp", x.Host.IP()+":5403")
			if err != nil {
				return nil // refused: there is nobody else to time out on
			}
			return errors.Join(errors.New("it still listens"), conn.Close())
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := x.Host.Exec(t.Context(), lab.Command{Argv: []string{"ss", "-Htn", "state", "established", "sport = :5403"}})
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("%s, cut off, still holds sessions: %q, %v", x.Name, out, err)
		}
		t.Logf("%s refused connections %s after it was cut off", x.Name, ms(time.Since(cut)))
		time.Sleep(time.Until(cut.Add(hold)))
		if err := c.lab.Heal(t.Context(), x.Host); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitWhole(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.WaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.neverInquorate(t, since, c.Nodes...)
	c.neverTwoSides(t)
}

// TestRollingRestart: every witness is killed and started again, one after the
// other; the cluster keeps its quorum, in one piece and in a standing split.
func TestRollingRestart(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}})
	roll := func() {
		for _, x := range w.Nodes {
			w.Kill(x)
			if err := w.Start(x); err != nil {
				t.Fatal(err)
			}
			if err := w.WaitServed(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
	}
	since := time.Now()
	roll()
	if err := c.WaitWhole(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.neverInquorate(t, since, c.Nodes...)
	c.neverTwoSides(t)
}

// TestWitnessOfALoneSurvivorDies: the other node has lost its power, and then the
// witness dies that the survivor is connected to. Its qdevice casts a NACK at
// once, so that the survivor is without quorum until it is connected again.
func TestWitnessOfALoneSurvivorDies(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}})
	n1, n2 := c.Nodes[0], c.Nodes[1]
	dead := time.Now()
	if err := n1.Host.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("power loss of %s: %s", n1.Name, c.waitSurvivor(t, dead, n2))
	x, err := w.of(t.Context(), n2)
	if err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	w.Kill(x)
	lost := c.waitSeen(t, "to lose its vote", n2, killed, func(s Span) bool { return !s.Quorate })
	back := c.waitSeen(t, "to be back", n2, killed.Add(lost), func(s Span) bool { return s.Quorate })
	t.Logf("%s, to which %s was connected, died: without quorum for %s", x.Name, n2.Name, ms(back))
}

// waitSurvivor waits until a node is quorate alone.
func (c *Cluster) waitSurvivor(t *testing.T, since time.Time, n *Node) string {
	t.Helper()
	return n.Name + " has quorum alone after " + ms(c.waitSeen(t, "to survive", n, since, func(s Span) bool { return s.Quorate && len(s.Members) == 1 }))
}

// of returns the witness that a node's qdevice is connected to.
func (w *Witnesses) of(ctx context.Context, n *Node) (*Witness, error) {
	for _, x := range w.Nodes {
		out, err := n.sh(ctx, "ss -Htn state established 'dport = :5403' dst 10.77.0.0/24")
		if err != nil {
			return nil, err
		}
		if strings.Contains(out, x.Host.IP()+":5403") {
			return x, nil
		}
	}
	return nil, fmt.Errorf("%s is connected to no witness", n.Name)
}

// TestProxyKeepsALoneSurvivor: with witness-agent qdevice-proxy on the node the
// survivor does not lose its quorum for an instant, whether its witness dies or
// falls silent.
func TestProxyKeepsALoneSurvivor(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short, Addresses: []string{"127.0.0.1"}}, proxy: true})
	n1, n2 := c.Nodes[0], c.Nodes[1]
	dead := time.Now()
	if err := n1.Host.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("power loss of %s: %s", n1.Name, c.waitSurvivor(t, dead, n2))
	alone := time.Now()
	for name, lose := range map[string]func(*Witness) error{
		"killed":      func(x *Witness) error { w.Kill(x); return nil },
		"black-holed": func(x *Witness) error { return c.lab.Isolate(t.Context(), x.Host) },
	} {
		x, err := w.of(t.Context(), n2)
		if err != nil {
			t.Fatal(err)
		}
		lost := time.Now()
		if err := lose(x); err != nil {
			t.Fatal(err)
		}
		err = lab.Until(t.Context(), bound, n2.Name+" to be connected to another witness", func(ctx context.Context) error {
			now, err := w.of(ctx, n2)
			if err == nil && now == x {
				err = errors.New("it is still connected to " + x.Name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was %s: another one after %s", x.Name, name, ms(time.Since(lost)))
		// Longer than the node's heartbeat: had it been forgotten, it would show.
		time.Sleep(time.Until(lost.Add(2 * short)))
		c.neverInquorate(t, alone, n2)
		if err := c.lab.Heal(t.Context(), x.Host); err != nil {
			t.Fatal(err)
		}
		if name != "black-holed" {
			if err := w.Start(x); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.WaitServed(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	c.neverInquorate(t, alone, n2)
	c.neverTwoSides(t)
}
