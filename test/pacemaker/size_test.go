//go:build integration

package pacemaker

import (
	"testing"
	"time"
)

// TestFourNodes: of two halves one wins, and of three and one the three.
func TestFourNodes(t *testing.T) {
	c, _ := device(t, variant{Settings: Settings{Nodes: 4, Timeout: short}})
	for _, sides := range [][2][]*Node{
		{c.side(1, 2), c.side(3, 4)},
		{c.side(2, 3, 4), c.side(1)},
	} {
		cut := time.Now()
		if err := c.Cut(t.Context(), sides[0]...); err != nil {
			t.Fatal(err)
		}
		s := c.waitSplit(t, cut, sides[0], sides[1])
		t.Logf("%s from %s: %s", names(sides[0]), names(sides[1]), s)
		if len(sides[0]) > len(sides[1]) && len(s.winners) != len(sides[0]) {
			t.Errorf("the minority %s won", names(s.winners))
		}
		healed(t, c)
	}
	c.neverTwoSides(t)
}

// TestFiveNodes: with lms the larger side wins, and one node alone keeps the
// service when the witnesses see that all others are gone.
func TestFiveNodes(t *testing.T) {
	c, _ := device(t, variant{Settings: Settings{Nodes: 5, Timeout: short, Algorithm: lms}, policy: "  wait_for_all: \"no\""})
	cut := time.Now()
	if err := c.Cut(t.Context(), c.side(1, 2)...); err != nil {
		t.Fatal(err)
	}
	s := c.waitSplit(t, cut, c.side(1, 2), c.side(3, 4, 5))
	t.Logf("two from three: %s", s)
	if len(s.winners) != 3 {
		t.Errorf("the minority %s won", names(s.winners))
	}
	healed(t, c)

	dead := time.Now()
	for _, n := range c.side(2, 3, 4, 5) {
		if err := n.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("four of five lose their power: %s", c.waitSurvivor(t, dead, c.Nodes[0]))
	c.neverTwoSides(t)
}

// TestTwoNodeLMS: upstream's algorithm for two nodes decides a ring cut as well.
func TestTwoNodeLMS(t *testing.T) {
	c, _ := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short, Algorithm: twoNodes}})
	cut := time.Now()
	if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	t.Logf("ring cut: %s", c.waitSplit(t, cut, c.side(1), c.side(2)))
	healed(t, c)
	c.neverTwoSides(t)
}
