package kv

import (
	"bytes"
	"cmp"
	"slices"
)

// Range reads keys at the current or at an older revision. An older revision costs
// time in proportion to the changes since then.
// Errors: ErrEmptyKey, ErrInvalidSort, ErrCompacted, ErrFutureRevision.
func (s *Store) Range(r RangeRequest) (RangeResult, error) {
	if err := r.validate(); err != nil {
		return RangeResult{}, err
	}
	if err := s.checkRevision(r.Revision); err != nil {
		return RangeResult{}, err
	}
	res := RangeResult{Revision: s.rev}
	var kvs []*KeyValue
	if r.Revision <= 0 || r.Revision == s.rev {
		if res.Count = s.count(r); r.CountOnly {
			return res, nil
		}
		kvs = s.collect(r)
	} else {
		kvs = s.at(r.Revision, string(r.Key), string(r.RangeEnd))
		if res.Count = int64(len(kvs)); r.CountOnly {
			return res, nil
		}
		kvs = slices.DeleteFunc(kvs, func(kv *KeyValue) bool { return !r.bounds(kv) })
		if stop := r.stop(); stop > 0 && len(kvs) > stop {
			kvs = kvs[:stop]
		}
	}
	r.sort(kvs)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, res.More = kvs[:r.Limit:r.Limit], true
	}
	if r.KeysOnly {
		for i, kv := range kvs {
			bare := *kv
			bare.Value = nil
			kvs[i] = &bare
		}
	}
	if len(kvs) > 0 {
		res.KVs = kvs
	}
	return res, nil
}

func (s *Store) checkRevision(rev int64) error {
	switch {
	case rev <= 0:
		return nil
	case rev > s.rev:
		return ErrFutureRevision
	case rev < s.compacted:
		return ErrCompacted
	}
	return nil
}

// count is the number of live keys in the range, in O(log n).
func (s *Store) count(r RangeRequest) int64 {
	lo, end := string(r.Key), string(r.RangeEnd)
	switch end {
	case "":
		if s.Get(lo) == nil {
			return 0
		}
		return 1
	case fromKey:
		return int64(s.keys.Len() - s.keys.Rank(lo))
	}
	return int64(max(0, s.keys.Rank(end)-s.keys.Rank(lo)))
}

// collect gathers the live keys within the bounds.
func (s *Store) collect(r RangeRequest) []*KeyValue {
	var kvs []*KeyValue
	for _, kv := range s.current(string(r.Key), string(r.RangeEnd)) {
		if !r.bounds(kv) {
			continue
		}
		if kvs = append(kvs, kv); len(kvs) == r.stop() {
			break
		}
	}
	return kvs
}

// stop is how many keys need to be gathered before sorting, -1 for all: one above
// the limit tells whether there are more. etcd does so even where the result is
// sorted by another field than the key, if no sort order and no bound is given: it
// then sorts only the first keys. Clients see that, so we do the same.
func (r *RangeRequest) stop() int {
	bounded := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if r.Limit > 0 && r.Limit < int64(maxInt) && (r.inKeyOrder() || r.SortOrder == SortNone && !bounded) {
		return int(r.Limit) + 1
	}
	return -1
}

// at returns the keys of a range as they were at revision rev, in order, by undoing
// the younger events: the oldest of them knows what its key was before.
func (s *Store) at(rev int64, lo, end string) []*KeyValue {
	undo := map[string]*KeyValue{}
	for _, evs := range s.log.from(rev + 1) {
		for _, ev := range evs {
			key := string(ev.KV.Key)
			if _, seen := undo[key]; !seen && inRange(key, lo, end) {
				undo[key] = ev.Prev
			}
		}
	}
	var kvs []*KeyValue
	for key, kv := range s.current(lo, end) {
		if _, changed := undo[key]; !changed {
			kvs = append(kvs, kv)
		}
	}
	for _, kv := range undo {
		if kv != nil {
			kvs = append(kvs, kv)
		}
	}
	// The sort makes the random order of the Go map above invisible.
	slices.SortFunc(kvs, func(a, b *KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return kvs
}

func (r *RangeRequest) validate() error {
	if len(r.Key) == 0 {
		return ErrEmptyKey
	}
	if r.SortOrder < SortNone || r.SortOrder > SortDescend || r.SortTarget < SortByKey || r.SortTarget > SortByValue {
		return ErrInvalidSort
	}
	return nil
}

func (r *RangeRequest) bounds(kv *KeyValue) bool {
	return (r.MinModRevision == 0 || kv.ModRevision >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || kv.ModRevision <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || kv.CreateRevision >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || kv.CreateRevision <= r.MaxCreateRevision)
}

func (r *RangeRequest) inKeyOrder() bool {
	return r.SortTarget == SortByKey && r.SortOrder != SortDescend
}

// sort orders kvs, which come in the order of their keys. Keys that are equal in
// the target stay in ascending order of the key (etcd leaves that open).
func (r *RangeRequest) sort(kvs []*KeyValue) {
	if r.inKeyOrder() {
		return
	}
	slices.SortStableFunc(kvs, func(a, b *KeyValue) int {
		if r.SortOrder == SortDescend {
			a, b = b, a
		}
		switch r.SortTarget {
		case SortByVersion:
			return cmp.Compare(a.Version, b.Version)
		case SortByCreate:
			return cmp.Compare(a.CreateRevision, b.CreateRevision)
		case SortByMod:
			return cmp.Compare(a.ModRevision, b.ModRevision)
		case SortByValue:
			return bytes.Compare(a.Value, b.Value)
		}
		return bytes.Compare(a.Key, b.Key)
	})
}
