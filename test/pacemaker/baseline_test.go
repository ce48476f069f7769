//go:build integration

package pacemaker

import (
	"testing"
	"time"
)

// stock is a cluster over one stock corosync-qnetd, all votes present.
func stock(t *testing.T, s Settings) (*Cluster, *Qnetd) {
	t.Helper()
	l := newLab(t)
	q, err := NewQnetd(t.Context(), l, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Addresses = []string{q.Host.IP()}
	c, err := NewCluster(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, q
}

// TestStockQnetd proves the laboratory by what stock software does: one side
// wins a ring cut, and when the winner then loses its quorum device, both sides
// are quorate for a while. A laboratory that does not show that shows nothing.
func TestStockQnetd(t *testing.T) {
	c, q := stock(t, Settings{Nodes: 2, Timeout: short})
	n1 := c.Nodes[0]
	cut := time.Now()
	if err := c.Cut(t.Context(), n1); err != nil {
		t.Fatal(err)
	}
	first := c.waitSplit(t, cut, c.side(1), c.side(2))
	settled, unnoticed := c.worst(t)
	if settled > 0 {
		t.Errorf("two quorate sides for %s", ms(settled))
	}
	t.Logf("ring cut: %s, quorate beside a loser that had not noticed for %s", first, ms(unnoticed))

	winner, loser := first.winners[0], first.losers[0]
	if err := winner.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut = time.Now()
	if err := c.lab.Cut(t.Context(), winner.Host, q.Host); err != nil {
		t.Fatal(err)
	}
	second := c.waitSplit(t, cut, []*Node{loser})
	settled, _ = c.worst(t)
	if settled == 0 {
		t.Error("two quorate sides, which stock software has here, were not seen")
	}
	t.Logf("the winner lost the device: %s, two quorate sides for %s", second, ms(settled))

	if err := c.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitWhole(t.Context()); err != nil {
		t.Fatal(err)
	}
}
