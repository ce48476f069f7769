//go:build integration

package pacemaker

import (
	"testing"
	"time"
)

// device is a cluster over three witnesses, all votes present.
func device(t *testing.T, s Settings, policy string) (*Cluster, *Witnesses) {
	t.Helper()
	l := newLab(t)
	w, err := NewWitnesses(t.Context(), l, program(t, "cmd/witnessd"), program(t, "cmd/witnessctl"), WitnessOptions{TLS: "off"})
	if err != nil {
		t.Fatal(err)
	}
	s.Addresses = w.IPs()
	c, err := NewCluster(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(t.Context(), c, nil, policy); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
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
		} else {
			t.Logf("quorate beside a side that had not noticed: %s", o)
		}
	}
}

// TestRingCut: one side wins; when it then loses the witnesses, the vote moves,
// and at no instant are there two quorate sides.
func TestRingCut(t *testing.T) {
	c, w := device(t, Settings{Nodes: 2}, "")
	n1, n2 := c.Nodes[0], c.Nodes[1]
	cut := time.Now()
	if err := c.Cut(t.Context(), n1); err != nil {
		t.Fatal(err)
	}
	won, lost := c.waitSplit(t, cut, n1)
	t.Logf("ring cut: won after %s, lost after %s", ms(won), ms(lost))
	c.neverTwoSides(t)

	if err := n1.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut = time.Now()
	for _, x := range w.Nodes {
		if err := c.lab.Cut(t.Context(), n1.Host, x.Host); err != nil {
			t.Fatal(err)
		}
	}
	won, lost = c.waitSplit(t, cut, n2)
	t.Logf("the winner lost the witnesses: the other won after %s, it lost after %s", ms(won), ms(lost))
	c.neverTwoSides(t)

	if err := c.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitWhole(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.neverTwoSides(t)
}
