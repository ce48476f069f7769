package kv

import "iter"

// Store is one state of the key space: the live keys, the history since the last
// compaction, and the leases. It is immutable; see the package comment.
type Store struct {
	rev       int64
	compacted int64
	epoch     uint64 // number of the last lease grant or revival
	size      int64
	digest    uint64

	keys   Map[string, *KeyValue]
	log    eventLog // every revision since compacted, inclusive
	leases Map[int64, *Lease]
}

const (
	// fromKey as RangeEnd means "all keys from Key on".
	fromKey = "\x00"
	// entryOverhead is what a key, an event or a lease costs beside its bytes,
	// in bytes: roughly its structures and tree nodes on a 64 bit machine.
	entryOverhead = 160
)

// New returns the empty store, which has revision 1 as in etcd.
func New() *Store { return &Store{rev: 1} }

// Revision returns the current revision: 1 when empty, one more for each
// transaction that changed something.
func (s *Store) Revision() int64 { return s.rev }

// CompactRevision returns the oldest revision that can still be read, 0 if nothing
// was ever compacted.
func (s *Store) CompactRevision() int64 { return s.compacted }

// Len returns the number of live keys.
func (s *Store) Len() int { return s.keys.Len() }

// Size returns the bytes that live keys, history and leases occupy (an estimate
// that is equal on all replicas), for comparison with a quota.
func (s *Store) Size() int64 { return s.size }

// Digest returns a hash over the sequence of all changes so far. Replicas that
// applied the same changes in the same order have the same digest.
func (s *Store) Digest() uint64 { return s.digest }

// Get returns the current version of key, nil if there is none.
func (s *Store) Get(key string) *KeyValue {
	kv, _ := s.keys.Get(key)
	return kv
}

// current iterates over the live keys from lo to end (a RangeEnd).
func (s *Store) current(lo, end string) iter.Seq2[string, *KeyValue] {
	switch end {
	case "":
		return func(yield func(string, *KeyValue) bool) {
			if kv := s.Get(lo); kv != nil {
				yield(lo, kv)
			}
		}
	case fromKey:
		return s.keys.From(lo)
	}
	return s.keys.Range(lo, end)
}

// inRange says whether key lies in the range of lo and end (a RangeEnd).
func inRange(key, lo, end string) bool {
	switch end {
	case "":
		return key == lo
	case fromKey:
		return key >= lo
	}
	return key >= lo && key < end
}

func cost(kv *KeyValue) int64 {
	return int64(len(kv.Key)) + int64(len(kv.Value)) + entryOverhead
}
