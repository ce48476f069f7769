package kv

import "iter"

// chunkRevisions is how many revisions share one node of the history. Appending
// copies the slots of the unfinished chunk only.
const chunkRevisions = 32

// eventLog holds the events of consecutive revisions. It is persistent like Map:
// its methods return a new one.
type eventLog struct {
	full Map[int64, [][]Event] // by revision / chunkRevisions
	tail [][]Event             // the chunk of the newest revision, if unfinished
	last int64                 // newest revision
}

// add appends the events of rev, which is last+1 (or any revision if empty).
func (l eventLog) add(rev int64, evs []Event) eventLog {
	slot := int(rev % chunkRevisions)
	tail := make([][]Event, slot+1)
	copy(tail, l.tail)
	tail[slot] = evs
	l.last, l.tail = rev, tail
	if slot == chunkRevisions-1 {
		l.full, l.tail = l.full.Set(rev/chunkRevisions, tail), nil
	}
	return l
}

func (l eventLog) chunk(n int64) [][]Event {
	if c, ok := l.full.Get(n); ok {
		return c
	}
	if n == l.last/chunkRevisions {
		return l.tail
	}
	return nil
}

// from iterates over the revisions that have events, from rev on.
func (l eventLog) from(rev int64) iter.Seq2[int64, []Event] {
	return func(yield func(int64, []Event) bool) {
		rev = max(rev, 0)
		visit := func(n int64, c [][]Event) bool {
			for i, evs := range c {
				at := n*chunkRevisions + int64(i)
				if at >= rev && len(evs) > 0 && !yield(at, evs) {
					return false
				}
			}
			return true
		}
		if rev > l.last {
			return
		}
		for n, c := range l.full.From(rev / chunkRevisions) {
			if !visit(n, c) {
				return
			}
		}
		visit(l.last/chunkRevisions, l.tail)
	}
}

// cut forgets everything before rev and replaces the events of rev itself.
func (l eventLog) cut(rev int64, boundary []Event) eventLog {
	n, slot := rev/chunkRevisions, int(rev%chunkRevisions)
	for old := range l.full.Range(0, n) {
		l.full = l.full.Delete(old)
	}
	old := l.chunk(n)
	if slot >= len(old) {
		return l
	}
	c := make([][]Event, len(old))
	copy(c[slot:], old[slot:])
	c[slot] = boundary
	if _, full := l.full.Get(n); full {
		l.full = l.full.Set(n, c)
	} else {
		l.tail = c
	}
	return l
}
