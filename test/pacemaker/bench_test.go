//go:build integration

package pacemaker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"quorate/test/lab"
)

// watched is how long a vote that may never come is waited for.
const watched = 30 * time.Second

// figure is one line of out/bench.jsonl: seconds, -1 for "not while it was watched".
type figure struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours"` // median
	Peer  float64   `json:"peer"` // median
	Each  []float64 `json:"ours_each,omitempty"`
	Stock []float64 `json:"peer_each,omitempty"`
	Note  string    `json:"note"`
	At    time.Time `json:"at"`
}

// TestBenchSplits measures what a cluster of two sees of a split, over one stock
// corosync-qnetd and over three witnesses, in turn on one machine, with corosync's
// default times. Figures are recorded, outcomes asserted elsewhere.
func TestBenchSplits(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv("QUORATE_BENCH_RUNS"))
	if err != nil || runs < 1 {
		t.Skip("set QUORATE_BENCH_RUNS to the number of runs")
	}
	figures := map[string]*figure{}
	for i := range runs {
		for _, algorithm := range []string{ffsplit, lms} {
			for _, side := range []string{"stock", "witnesses"} {
				t.Run(fmt.Sprintf("%s-%s-%d", algorithm, side, i), func(t *testing.T) {
					for name, seconds := range measureSplits(t, algorithm, side == "stock") {
						f := figures[algorithm+"-"+name]
						if f == nil {
							f = &figure{Name: "pacemaker-" + algorithm + "-" + name, Unit: "s", Note: "two nodes, token 1000, quorum.device.timeout 10000", At: time.Now()}
							figures[algorithm+"-"+name] = f
						}
						if side == "stock" {
							f.Stock = append(f.Stock, seconds)
						} else {
							f.Each = append(f.Each, seconds)
						}
					}
				})
			}
		}
	}
	out, err := os.OpenFile(filepath.Join(root(t), "out", "bench.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	names := make([]string, 0, len(figures))
	for name := range figures {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := figures[name]
		f.Ours, f.Peer = median(f.Each), median(f.Stock)
		fmt.Printf("%s ours=%.2f peer=%.2f ours_each=%v peer_each=%v\n", f.Name, f.Ours, f.Peer, f.Each, f.Stock)
		if err := json.NewEncoder(out).Encode(f); err != nil {
			t.Fatal(err)
		}
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return -1
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// measureSplits cuts the ring; then the winner loses its device, just after it
// answered a heartbeat; heals; and then isolates the preferred node at once.
func measureSplits(t *testing.T, algorithm string, peer bool) map[string]float64 {
	var c *Cluster
	var devices []*lab.Host
	if peer {
		var q *Qnetd
		c, q = stock(t, Settings{Nodes: 2, Algorithm: algorithm})
		devices = []*lab.Host{q.Host}
	} else {
		var w *Witnesses
		policy := ""
		if algorithm == lms {
			policy = "  wait_for_all: \"no\""
		}
		c, w = device(t, variant{Settings: Settings{Nodes: 2, Algorithm: algorithm}, policy: policy})
		for _, x := range w.Nodes {
			devices = append(devices, x.Host)
		}
	}
	out := map[string]float64{}
	cut := time.Now()
	if err := c.Cut(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	s := c.waitSplit(t, cut, c.side(1), c.side(2))
	out["ring-cut"] = s.won.Seconds()
	winner, loser := s.winners[0], s.losers[0]

	if err := winner.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut = time.Now()
	if err := c.lab.Split(t.Context(), []*lab.Host{winner.Host}, devices); err != nil {
		t.Fatal(err)
	}
	out["winner-lost-device"] = c.within(t, loser, cut)
	out["winner-lost-device-overlap"] = c.settled(t, cut)

	if err := c.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitWhole(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := c.Nodes[0]
	if err := first.WaitEcho(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut = time.Now()
	if err := c.lab.Isolate(t.Context(), first.Host); err != nil {
		t.Fatal(err)
	}
	out["isolated"] = c.within(t, c.Nodes[1], cut)
	out["isolated-overlap"] = c.settled(t, cut)
	return out
}

// within returns after how many seconds a node was quorate alone, -1 if it was
// not while it was watched. It watches on until the other side has given up.
func (c *Cluster) within(t *testing.T, n *Node, since time.Time) float64 {
	t.Helper()
	won := -1.0
	for time.Since(since) < watched {
		at, err := c.FirstSeen(n, since, func(s Span) bool { return s.Quorate && len(s.Members) == 1 })
		if err != nil {
			t.Fatal(err)
		}
		if !at.IsZero() {
			won = at.Sub(since).Seconds()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, other := range c.Others(n) {
		c.waitSeen(t, "to lose", other, since, func(s Span) bool { return !s.Quorate })
	}
	return won
}

// settled returns for how many seconds two sides were quorate after the given
// moment, a side that had not noticed included.
func (c *Cluster) settled(t *testing.T, since time.Time) float64 {
	t.Helper()
	all, err := c.Overlaps()
	if err != nil {
		t.Fatal(err)
	}
	longest := time.Duration(0)
	for _, o := range all {
		if o.From.After(since) {
			longest = max(longest, o.Length())
		}
	}
	return longest.Seconds()
}
