package probe

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

func TestOutages(t *testing.T) {
	acked := []Ack{
		{1, "a", at(0)},
		{2, "a", at(20)},
		{3, "a", at(500)},
		{7, "b", at(3500)},
		{8, "b", at(3520)},
		{9, "a", at(3540)},
	}
	got := Outages(acked, 300*time.Millisecond)
	want := []Outage{
		{at(20), at(500), "a", "a"},
		{at(500), at(3500), "a", "b"},
		{at(3520), at(3540), "b", "a"}, // short, but the node changed
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if d := Longest(got).Duration(); d != 3*time.Second {
		t.Errorf("longest outage is %s, want 3s", d)
	}
}

func TestMissing(t *testing.T) {
	acked := []Ack{{ID: 1}, {ID: 2}, {ID: 5}}
	// 3 was written, but its acknowledgement never arrived: no loss, no surplus.
	if got := missing(acked, []int64{1, 3, 5}); !slices.Equal(got, []int64{2}) {
		t.Errorf("lost %v, want [2]", got)
	}
}

// series is n writes of a host, one each 20 ms, each taking 4 ms.
func series(host string, run int, timeline int64, from, n int) []Accept {
	var s []Accept
	for i := range n {
		s = append(s, Accept{host, at(from + 20*i), at(from + 20*i + 4), run, timeline})
	}
	return s
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name     string
		accepted [][]Accept
		want     string // part of the only conflict; empty for none
	}{
		{"one after the other", [][]Accept{series("a", 1, 1, 0, 5), series("b", 1, 2, 200, 5)}, ""},
		{"back and forth", [][]Accept{series("a", 1, 1, 0, 5), series("b", 1, 2, 200, 5), series("a", 2, 3, 400, 5)}, ""},
		{"the boundary write may be either's", [][]Accept{series("a", 1, 1, 0, 2), series("b", 1, 2, 22, 2)}, ""},
		{"overlap", [][]Accept{series("a", 1, 1, 0, 10), series("b", 1, 2, 100, 10)}, "both accepted writes"},
		{"one write inside", [][]Accept{series("a", 1, 3, 0, 10), series("b", 1, 2, 106, 1)}, "both accepted writes"},
		{"old timeline afterwards", [][]Accept{series("a", 1, 1, 0, 5), series("b", 1, 2, 200, 5), series("a", 2, 1, 400, 5)}, "a accepted a write on timeline 1"},
		{"same timeline", [][]Accept{series("a", 1, 1, 0, 5), series("b", 1, 1, 200, 5)}, "b accepted a write on timeline 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []Accept
			for _, s := range c.accepted {
				all = append(all, s...)
			}
			slices.SortFunc(all, func(a, b Accept) int { return a.End.Compare(b.End) })
			got := Conflicts(all)
			if c.want == "" {
				if len(got) > 0 {
					t.Errorf("no conflict expected: %v", got)
				}
				return
			}
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("got %v, want one with %q", got, c.want)
			}
		})
	}
}
