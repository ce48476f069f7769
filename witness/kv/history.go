package kv

// Events calls fn for each revision from `from` on that changed a key in the range
// of lo and hi (hi as RangeEnd of a [RangeRequest]), in order, with those events
// only, until fn returns false. A revision in the future has no events yet.
//
// Prev is missing in the events of the compacted revision itself.
// Errors: ErrCompacted if `from` is older than the compacted revision.
func (s *Store) Events(from int64, lo, hi string, fn func(rev int64, evs []Event) bool) error {
	if from < s.compacted {
		return ErrCompacted
	}
	for rev, evs := range s.log.from(from) {
		if some := selectEvents(evs, lo, hi); len(some) > 0 && !fn(rev, some) {
			break
		}
	}
	return nil
}

// selectEvents copies only if some events are in the range and some are not.
func selectEvents(evs []Event, lo, hi string) []Event {
	n := 0
	for _, ev := range evs {
		if inRange(string(ev.KV.Key), lo, hi) {
			n++
		}
	}
	if n == 0 || n == len(evs) {
		return evs[:n:n]
	}
	some := make([]Event, 0, n)
	for _, ev := range evs {
		if inRange(string(ev.KV.Key), lo, hi) {
			some = append(some, ev)
		}
	}
	return some
}

// Compact forgets the history before rev: older revisions can no longer be read or
// watched; rev itself can. The cost is in proportion to what is forgotten.
// Errors: ErrCompacted if that already happened, ErrFutureRevision.
func (s *Store) Compact(rev int64) (*Store, error) {
	switch {
	case rev <= s.compacted:
		return s, ErrCompacted
	case rev > s.rev:
		return s, ErrFutureRevision
	}
	next := *s
	// The events of rev stay for watchers that start there (etcd lost deletions
	// here once: etcd#18089), but what was before them is gone.
	var boundary []Event
	for old, evs := range s.log.from(s.compacted) {
		if old > rev {
			break
		}
		for _, ev := range evs {
			if old == rev {
				boundary = append(boundary, Event{Type: ev.Type, KV: ev.KV})
			} else {
				next.size -= cost(ev.KV)
			}
		}
	}
	next.log = s.log.cut(rev, boundary)
	next.compacted = rev
	next.digest = digestLease(s.digest, opCompact, rev, 0)
	return &next, nil
}
