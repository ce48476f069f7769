//go:build integration

package pacemaker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/test/lab"
)

// short makes every time of the quorum device shorter than corosync's default
// of 10 s, for cases that wait for it; heartbeats come every 3.2 s then.
const short = 4 * time.Second

// variant is how a case's cluster and its declaration differ from the usual ones.
type variant struct {
	Settings
	policy string // more lines of the cluster's declaration
	fences bool   // every node has a BMC, and fence_witness
	idle   bool   // nothing is started on the nodes
	proxy  bool   // qdevice connects to a witness-agent on its node
}

// device is a cluster over three witnesses, all votes present.
func device(t *testing.T, v variant) (*Cluster, *Witnesses) {
	t.Helper()
	l := newLab(t)
	client, err := l.Host(t.Context(), "client", "10.77.0.50")
	if err != nil {
		t.Fatal(err)
	}
	control, daemon := program(t, "cmd/witnessctl"), program(t, "cmd/witnessd")
	o := WitnessOptions{TLS: "off"}
	if v.TLS == "required" {
		o.TLS = v.TLS
		if o.Authority, err = NewAuthority(t.Context(), l, client, control); err != nil {
			t.Fatal(err)
		}
	}
	if v.fences {
		if v.Agents, err = Agents(l, program(t, "cmd/fence_witness")); err != nil {
			t.Fatal(err)
		}
	}
	w, err := NewWitnesses(t.Context(), l, client, daemon, control, o)
	if err != nil {
		t.Fatal(err)
	}
	if !v.proxy {
		v.Addresses = w.IPs()
	}
	c, err := NewCluster(t.Context(), l, v.Settings)
	if err != nil {
		t.Fatal(err)
	}
	if o.Authority != "" {
		if err := c.Certify(t.Context(), o.Authority, control); err != nil {
			t.Fatal(err)
		}
	}
	if v.fences {
		c.bmcs = bmcs(t, c)
	}
	if err := w.Apply(t.Context(), c, c.bmcs, v.policy); err != nil {
		t.Fatal(err)
	}
	if v.proxy {
		agent := program(t, "cmd/witness-agent")
		for _, n := range c.Nodes {
			_, err := n.Host.Start(lab.Command{Argv: []string{
				agent, "qdevice-proxy", "--witness", strings.Join(w.IPs(), ":5403,") + ":5403", "--plaintext", "--cluster", clusterName,
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if !v.idle {
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c, w
}

// neverTwoSides fails the test if two sides were ever quorate.
func (c *Cluster) neverTwoSides(t *testing.T) {
	t.Helper()
	all, err := c.Overlaps()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Settled {
			t.Errorf("two quorate sides: %s", o)
		}
	}
}

// neverBesideTheLost is stricter, for a node that was out of reach of all others
// and of the witnesses since then: only time takes its vote away, and it counts as
// a side of its own even while it still sees the old membership.
func (c *Cluster) neverBesideTheLost(t *testing.T, since time.Time) {
	t.Helper()
	all, err := c.Overlaps()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.From.After(since) {
			t.Errorf("two quorate sides: %s", o)
		}
	}
}

// cutFromWitnesses cuts a node off from all witnesses.
func cutFromWitnesses(t *testing.T, c *Cluster, w *Witnesses, n *Node) {
	t.Helper()
	var all []*lab.Host
	for _, x := range w.Nodes {
		all = append(all, x.Host)
	}
	if err := c.lab.Split(t.Context(), []*lab.Host{n.Host}, all); err != nil {
		t.Fatal(err)
	}
}

// healed heals every cut and waits until the cluster is whole.
func healed(t *testing.T, c *Cluster) {
	t.Helper()
	if err := c.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitWhole(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRingCut: one side wins; when it then loses the witnesses, the vote moves,
// and at no instant are there two quorate sides.
func TestRingCut(t *testing.T) {
	for name, v := range map[string]variant{
		"ffsplit":     {Settings: Settings{Nodes: 2, Timeout: short}},
		"ffsplit-tls": {Settings: Settings{Nodes: 2, Timeout: short, TLS: "required"}},
		"lms":         {Settings: Settings{Nodes: 2, Timeout: short, Algorithm: lms}, policy: "  wait_for_all: \"no\""},
	} {
		t.Run(name, func(t *testing.T) { ringCut(t, v) })
	}
}

func ringCut(t *testing.T, v variant) {
	c, w := device(t, v)
	n1 := c.Nodes[0]
	if v.TLS == "required" {
		if s, err := n1.deviceStatus(t.Context()); err != nil || !strings.HasPrefix(s["TLS active"], "Yes") {
			t.Errorf("TLS is not in use: %v, %v", s, err)
		}
	}
	cut := time.Now()
	if err := c.Cut(t.Context(), n1); err != nil {
		t.Fatal(err)
	}
	first := c.waitSplit(t, cut, c.side(1), c.side(2))
	t.Logf("ring cut: %s", first)

	winner := first.winners[0]
	if err := winner.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut = time.Now()
	cutFromWitnesses(t, c, w, winner)
	t.Logf("the winner lost the witnesses: %s", c.waitSplit(t, cut, first.losers))
	healed(t, c)
	c.neverTwoSides(t)
}

// TestWinnerIsIsolatedAtOnce: the node that would win loses the others and the
// witnesses at one moment. Stock software has two quorate sides here, too.
func TestWinnerIsIsolatedAtOnce(t *testing.T) {
	c, _ := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}})
	n1, n2 := c.Nodes[0], c.Nodes[1]
	if err := n1.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	if err := c.lab.Isolate(t.Context(), n1.Host); err != nil {
		t.Fatal(err)
	}
	t.Logf("isolated: %s", c.waitSplit(t, cut, []*Node{n2}))
	c.neverBesideTheLost(t, cut)
	healed(t, c)
	c.neverTwoSides(t)
}

// TestStickyVote: with lms and wait_for_all a node keeps its vote when it loses
// the witnesses, and nobody can see wait_for_all from outside. Unless the cluster
// is declared free of it the vote is handed over only when that node is proven off.
func TestStickyVote(t *testing.T) {
	c, w := device(t, variant{
		Settings: Settings{Nodes: 2, Timeout: short, Algorithm: lms},
		policy:   "  fencing: on-request", fences: true,
	})
	cut := time.Now()
	if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	first := c.waitSplit(t, cut, c.side(1), c.side(2))
	n1, n2 := first.winners[0], first.losers[0]
	cutFromWitnesses(t, c, w, n1)
	err := lab.Until(t.Context(), bound, "the witnesses to wait for a proof", func(ctx context.Context) error {
		out, err := w.Ctl(ctx, "cluster", "explain", clusterName)
		if err == nil && !strings.Contains(out, "only a proof that it is off") {
			err = errors.New(out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if q, err := n2.Quorum(t.Context()); err != nil || q.Quorate {
		t.Errorf("%s was given the vote that %s may still count: %+v, %v", n2.Name, n1.Name, q, err)
	}
	fence := time.Now()
	if _, err := w.Ctl(t.Context(), "fence", "off", n1.Name, "--by", "alice", "--reason", "it keeps the vote", "--yes"); err != nil {
		t.Fatal(err)
	}
	won := c.waitSeen(t, "to win", n2, fence, func(s Span) bool { return s.Quorate && len(s.Members) == 1 })
	off, err := c.bmcs[n1.Name].OffSince(fence)
	if err != nil {
		t.Fatal(err)
	}
	if fence.Add(won).Before(off.At) {
		t.Errorf("%s was quorate at %s, before %s was off at %s", n2.Name, fence.Add(won), n1.Name, off.At)
	}
	t.Logf("off after %s, the vote moved after %s", ms(off.At.Sub(fence)), ms(won))
	c.neverBesideTheLost(t, fence)
}
