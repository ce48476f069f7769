package probe

import (
	"fmt"
	"slices"
	"time"
)

// span is one uninterrupted series of writes accepted by a host. It certainly
// accepted writes from opened (its first write had been committed) to closed
// (its last one had not been yet); for a single write these are reversed.
type span struct {
	host           string
	opened, closed time.Time
	writes         []Accept
}

// Conflicts returns one sentence per proof that two hosts accepted writes at the
// same time, or that a host accepted a write on a timeline that another host
// had already left behind or was writing to as well. No proof is an empty list.
func Conflicts(accepted []Accept) []string {
	spans := spansOf(accepted)
	var found []string
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.host == b.host {
				continue
			}
			if at, both := overlap(a, b); both {
				found = append(found, fmt.Sprintf("%s and %s both accepted writes at %s",
					a.host, b.host, at.Format(time.RFC3339Nano)))
			}
		}
	}
	return append(found, stale(accepted)...)
}

func spansOf(accepted []Accept) []span {
	type key struct {
		host string
		run  int
	}
	index := map[key]int{}
	var spans []span
	for _, a := range accepted {
		k := key{a.Host, a.Run}
		i, known := index[k]
		if !known {
			i = len(spans)
			index[k] = i
			spans = append(spans, span{host: a.Host, opened: a.End})
		}
		spans[i].closed = a.Start
		spans[i].writes = append(spans[i].writes, a)
	}
	return spans
}

// overlap tells whether both series certainly accepted writes at one instant.
func overlap(a, b span) (time.Time, bool) {
	from, to := a.opened, a.closed
	if b.opened.After(from) {
		from = b.opened
	}
	if b.closed.Before(to) {
		to = b.closed
	}
	if !from.After(to) {
		return from, true
	}
	// A series of one write has no certain length, but a write that lies wholly
	// within the other's series is a conflict as well.
	for _, pair := range [2][2]span{{a, b}, {b, a}} {
		for _, w := range pair[0].writes {
			if !w.Start.Before(pair[1].opened) && !w.End.After(pair[1].closed) {
				return w.End, true
			}
		}
	}
	return time.Time{}, false
}

// stale finds, per host and timeline, the first write that began after another
// host's write on the same or a later timeline had ended.
func stale(accepted []Accept) []string {
	byEnd, byStart := slices.Clone(accepted), slices.Clone(accepted)
	slices.SortFunc(byEnd, func(a, b Accept) int { return a.End.Compare(b.End) })
	slices.SortFunc(byStart, func(a, b Accept) int { return a.Start.Compare(b.Start) })
	type key struct {
		host     string
		timeline int64
	}
	highest := map[string]Accept{} // by host, of the writes that had ended
	reported := map[key]bool{}
	var found []string
	next := 0
	for _, late := range byStart {
		for ; next < len(byEnd) && byEnd[next].End.Before(late.Start); next++ {
			if done := byEnd[next]; done.Timeline >= highest[done.Host].Timeline {
				highest[done.Host] = done
			}
		}
		for host, early := range highest {
			k := key{late.Host, late.Timeline}
			if host == late.Host || early.Timeline < late.Timeline || reported[k] {
				continue
			}
			reported[k] = true
			found = append(found, fmt.Sprintf("%s accepted a write on timeline %d at %s, after %s had written on timeline %d",
				late.Host, late.Timeline, late.End.Format(time.RFC3339Nano), host, early.Timeline))
		}
	}
	return found
}
