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

// TestPacemakerFencesTheLoser is the whole path: the ring is cut, one side gets
// the vote, its Pacemaker asks for the other node's power-off through
// fence_witness, the witnesses prove it off by its BMC, and the service runs on
// the winner. The loser's own request is refused.
func TestPacemakerFencesTheLoser(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2}, policy: "  fencing: on-request", fences: true})
	if err := c.StartPacemaker(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The first address is nobody's: the agent finds the others.
	if err := c.Configure(t.Context(), "http://10.77.0.99:8080,"+w.URLs()); err != nil {
		t.Fatal(err)
	}
	before, err := c.WaitService(t.Context(), c.Nodes[0], c.Nodes...)
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), bound, "the fence device to be started", func(ctx context.Context) error {
		out, err := c.Nodes[0].sh(ctx, "crm_mon -1")
		if err == nil && !strings.Contains(out, "(stonith:fence_witness):\t Started") {
			err = errors.New(out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	stonithAdmin(t, c.Nodes[0], w.URLs())

	cut := time.Now()
	if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	s := c.waitSplit(t, cut, c.side(1), c.side(2))
	winner, loser := s.winners[0], s.losers[0]
	// At once, before it is off: the loser asks for the winner's head.
	refused, refusal := loser.Host.Exec(t.Context(), lab.Command{Argv: []string{
		"fence_witness", "-o", "off", "-n", winner.Name, "-u", w.URLs(), "-c", clusterName,
	}})
	var off time.Duration
	err = lab.Until(t.Context(), bound, "the loser to be powered off", func(context.Context) error {
		e, err := c.bmcs[loser.Name].OffSince(cut)
		off = e.At.Sub(cut)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), bound, "Pacemaker to know that the loser is fenced", func(ctx context.Context) error {
		out, err := winner.sh(ctx, "stonith_admin --history "+loser.Name+" -V")
		if err == nil && !strings.Contains(out, "successful") {
			err = errors.New(out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	known := time.Since(cut)
	if _, err := c.WaitService(t.Context(), winner, winner); err != nil {
		t.Fatal(err)
	}
	t.Logf("the service ran on %s; %s; loser off after %s, known to Pacemaker after %s, service on the winner after %s",
		before.Name, s, ms(off), ms(known), ms(time.Since(cut)))
	if refusal == nil {
		t.Errorf("the loser's request was carried out: %s", refused)
	} else if !strings.Contains(refusal.Error(), "refused by rule fence.vote") && loserLives(t, refusal) {
		t.Errorf("the loser's request was not refused by the vote: %v", refusal)
	}
	if _, err := c.bmcs[winner.Name].OffSince(cut); err == nil {
		t.Error("the winner was powered off")
	}
	c.neverTwoSides(t)

	// Asked again by Pacemaker's own tool, it is a success at once.
	again := time.Now()
	mustRun(t, winner, "stonith_admin --fence "+loser.Name+" --timeout 40")
	t.Logf("stonith_admin --fence: %s", ms(time.Since(again)))

	// What is recorded: the power-off, who asked for it, and from where.
	out, err := w.Ctl(t.Context(), "fence", "status", loser.Name)
	if err != nil || !strings.Contains(out, "observed-off") {
		t.Errorf("fence status: %s, %v", out, err)
	}
}

// loserLives says whether the request came back at all: the loser may have lost
// its power meanwhile, and its agent with it.
func loserLives(t *testing.T, err error) bool {
	t.Helper()
	return !strings.Contains(err.Error(), "signal: killed")
}

// TestHeuristicsMoveTheVote: in a standing split the holder's heuristics fail.
// The vote moves, and then the new loser is powered off, in that order.
func TestHeuristicsMoveTheVote(t *testing.T) {
	c, w := device(t, variant{
		Settings: Settings{Nodes: 2, Timeout: short, Heuristics: true}, policy: "  fencing: proactive", fences: true,
	})
	// The first loser must live through it, so its BMC lets nobody in.
	for _, n := range c.Nodes {
		if err := c.bmcs[n.Name].SetFaults(t.Context(), "unauthorized"); err != nil {
			t.Fatal(err)
		}
	}
	cut := time.Now()
	if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	s := c.waitSplit(t, cut, c.side(1), c.side(2))
	winner, loser := s.winners[0], s.losers[0]
	t.Logf("ring cut: %s", s)
	if err := c.bmcs[winner.Name].SetFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	flip := time.Now()
	if _, err := winner.sh(t.Context(), "rm "+healthFile); err != nil {
		t.Fatal(err)
	}
	moved := c.waitSeen(t, "to win", loser, flip, func(s Span) bool { return s.Quorate })
	var off time.Time
	err := lab.Until(t.Context(), bound, "the new loser to be powered off", func(context.Context) error {
		e, err := c.bmcs[winner.Name].OffSince(flip)
		off = e.Began
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	events, err := w.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost := last(events, func(e Event) bool { return e.Kind == "granted" && strings.Contains(e.Text, winner.Name+" lost it") })
	planned := last(events, func(e Event) bool { return e.Kind == "planned-fence-off" && e.Host == winner.Name })
	if lost == 0 || planned <= lost {
		t.Errorf("%s lost the vote with entry %d and was to be powered off by entry %d", winner.Name, lost, planned)
	}
	t.Logf("heuristics of %s failed: %s has the vote after %s", winner.Name, loser.Name, ms(moved))
	t.Logf("powered off %s after the flip", ms(off.Sub(flip)))
	c.neverTwoSides(t)
}

// last returns the log index of the last such event, 0 if there is none.
func last(events []Event, want func(Event) bool) uint64 {
	var index uint64
	for _, e := range events {
		if want(e) {
			index = e.Index
		}
	}
	return index
}
