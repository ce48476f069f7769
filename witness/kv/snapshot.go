package kv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// snapshotFormat is raised when the JSON form changes in a way that older code
// would misread.
const snapshotFormat = 1

// snapshot is the JSON form of a Store: the keys as of the compacted revision, and
// every event since, from which the present is replayed.
type snapshot struct {
	Format    int             `json:"format"`
	Revision  int64           `json:"revision"`
	Compacted int64           `json:"compacted"`
	Epoch     uint64          `json:"epoch"`
	Digest    uint64          `json:"digest"`
	Keys      []*KeyValue     `json:"keys"`
	Boundary  []loggedEvent   `json:"boundary"` // events of the compacted revision
	Log       [][]loggedEvent `json:"log"`      // one entry for each revision after it
	Leases    []savedLease    `json:"leases"`
}

type loggedEvent struct {
	Type EventType `json:"t,omitempty"`
	KV   *KeyValue `json:"kv"`
}

type savedLease struct {
	ID    int64  `json:"id"`
	TTL   int64  `json:"ttl"`
	Epoch uint64 `json:"epoch"`
	Dead  bool   `json:"dead,omitempty"`
}

// MarshalJSON writes the whole Store with its history. Equal Stores give equal bytes.
func (s *Store) MarshalJSON() ([]byte, error) {
	snap := snapshot{
		Format: snapshotFormat, Revision: s.rev, Compacted: s.compacted, Epoch: s.epoch, Digest: s.digest,
		Keys: s.at(s.compacted, fromKey, fromKey), Boundary: []loggedEvent{}, Log: [][]loggedEvent{}, Leases: []savedLease{},
	}
	if snap.Keys == nil {
		snap.Keys = []*KeyValue{}
	}
	for rev, evs := range s.log.from(s.compacted) {
		logged := make([]loggedEvent, len(evs))
		for i, ev := range evs {
			logged[i] = loggedEvent{ev.Type, ev.KV}
		}
		if rev == s.compacted {
			snap.Boundary = logged
		} else {
			snap.Log = append(snap.Log, logged)
		}
	}
	for l := range s.Leases() {
		snap.Leases = append(snap.Leases, savedLease{l.ID, l.TTL, l.Epoch, l.Dead})
	}
	return json.Marshal(snap)
}

// UnmarshalJSON replaces *s, which must not be shared, by the Store that
// MarshalJSON wrote. Everything that could make the result inconsistent is checked:
// bytes from a damaged or hostile source give an error and leave *s as it was.
func (s *Store) UnmarshalJSON(data []byte) error {
	var snap snapshot
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&snap); err != nil {
		return fmt.Errorf("kv snapshot: %w", err)
	}
	next, err := snap.restore()
	if err != nil {
		return fmt.Errorf("kv snapshot is damaged, take another one: %w", err)
	}
	*s = *next
	return nil
}

func (snap *snapshot) restore() (*Store, error) {
	if snap.Format != snapshotFormat {
		return nil, fmt.Errorf("format %d, but this version reads %d", snap.Format, snapshotFormat)
	}
	first := max(snap.Compacted, 1) // revision 1 exists without events
	if snap.Compacted < 0 || snap.Revision < first || snap.Revision-first != int64(len(snap.Log)) {
		return nil, fmt.Errorf("revisions %d to %d with %d log entries", snap.Compacted, snap.Revision, len(snap.Log))
	}
	s := &Store{rev: first, compacted: snap.Compacted}
	if err := snap.restoreLeases(s); err != nil {
		return nil, err
	}
	if err := snap.restoreKeys(s); err != nil {
		return nil, err
	}
	if err := snap.restoreBoundary(s); err != nil {
		return nil, err
	}
	for _, logged := range snap.Log {
		if err := s.replay(logged); err != nil {
			return nil, fmt.Errorf("revision %d: %w", s.rev+1, err)
		}
	}
	for key, kv := range s.keys.All() {
		if _, ok := s.leases.Get(kv.Lease); kv.Lease != 0 && !ok {
			return nil, fmt.Errorf("key %q hangs on lease %x, which does not exist", key, kv.Lease)
		}
	}
	s.digest = snap.Digest
	return s, nil
}

func (snap *snapshot) restoreLeases(s *Store) error {
	s.epoch = snap.Epoch
	last := int64(0)
	for i, l := range snap.Leases {
		if l.ID == 0 || i > 0 && l.ID <= last || l.TTL < 1 || l.TTL > MaxLeaseTTL || l.Epoch < 1 || l.Epoch > snap.Epoch {
			return fmt.Errorf("lease %x with ttl %d and epoch %d", l.ID, l.TTL, l.Epoch)
		}
		last = l.ID
		s.leases = s.leases.Set(l.ID, &Lease{ID: l.ID, TTL: l.TTL, Epoch: l.Epoch, Dead: l.Dead})
		s.size += entryOverhead
	}
	return nil
}

func (snap *snapshot) restoreKeys(s *Store) error {
	for i, kv := range snap.Keys {
		switch {
		case kv == nil || len(kv.Key) == 0:
			return errors.New("a key without a name")
		case i > 0 && bytes.Compare(snap.Keys[i-1].Key, kv.Key) >= 0:
			return fmt.Errorf("key %q is out of order", kv.Key)
		case kv.CreateRevision < 2 || kv.CreateRevision > kv.ModRevision || kv.ModRevision > s.compacted || kv.Version < 1:
			return fmt.Errorf("key %q: created at %d, modified at %d, version %d", kv.Key, kv.CreateRevision, kv.ModRevision, kv.Version)
		}
		normalise(kv)
		key := string(kv.Key)
		s.keys = s.keys.Set(key, kv)
		s.attach(kv.Lease, key)
		s.size += cost(kv)
	}
	return nil
}

// restoreBoundary takes over the events of the compacted revision, whose effect is
// already in the keys.
func (snap *snapshot) restoreBoundary(s *Store) error {
	if len(snap.Boundary) == 0 {
		if snap.Compacted > 1 {
			return fmt.Errorf("no events of the compacted revision %d", snap.Compacted)
		}
		return nil
	}
	if snap.Compacted <= 1 {
		return fmt.Errorf("events of the revision %d, which has none", snap.Compacted)
	}
	events, seen := make([]Event, 0, len(snap.Boundary)), map[string]bool{}
	for _, le := range snap.Boundary {
		if err := le.check(s.compacted, seen); err != nil {
			return err
		}
		now := s.Get(string(le.KV.Key))
		if le.Type == Put {
			if now == nil || !equal(now, le.KV) {
				return fmt.Errorf("key %q differs from its last put", le.KV.Key)
			}
			le.KV = now
		} else if now != nil {
			return fmt.Errorf("key %q is there after its deletion", le.KV.Key)
		}
		events = append(events, Event{Type: le.Type, KV: le.KV})
		s.size += cost(le.KV)
	}
	s.log = s.log.add(s.compacted, events)
	return nil
}

// replay runs the events of the next revision.
func (s *Store) replay(logged []loggedEvent) error {
	if len(logged) == 0 {
		return errors.New("no events")
	}
	x, seen := &txn{base: s, s: s, rev: s.rev + 1}, map[string]bool{}
	for _, le := range logged {
		if err := le.check(x.rev, seen); err != nil {
			return err
		}
		key := string(le.KV.Key)
		prev := s.Get(key)
		created, version := x.rev, int64(1)
		if prev != nil {
			created, version = prev.CreateRevision, prev.Version+1
		}
		switch {
		case le.Type == Delete && prev == nil:
			return fmt.Errorf("key %q is deleted but was not there", key)
		case le.Type == Put && (le.KV.CreateRevision != created || le.KV.Version != version):
			return fmt.Errorf("key %q: created at %d and version %d, want %d and %d", key, le.KV.CreateRevision, le.KV.Version, created, version)
		}
		x.apply(key, Event{Type: le.Type, KV: le.KV, Prev: prev})
	}
	x.commit()
	return nil
}

func (le *loggedEvent) check(rev int64, seen map[string]bool) error {
	kv := le.KV
	switch {
	case kv == nil || len(kv.Key) == 0:
		return errors.New("an event without a key")
	case kv.ModRevision != rev:
		return fmt.Errorf("key %q is modified at %d", kv.Key, kv.ModRevision)
	case seen[string(kv.Key)]:
		return fmt.Errorf("key %q is changed twice", kv.Key)
	case le.Type != Put && le.Type != Delete:
		return fmt.Errorf("key %q has an event of unknown type %d", kv.Key, le.Type)
	case le.Type == Delete && (len(kv.Value) != 0 || kv.CreateRevision != 0 || kv.Version != 0 || kv.Lease != 0):
		return fmt.Errorf("key %q is deleted with a value", kv.Key)
	}
	seen[string(kv.Key)] = true
	normalise(kv)
	return nil
}

func normalise(kv *KeyValue) {
	if len(kv.Value) == 0 {
		kv.Value = nil
	}
}

func equal(a, b *KeyValue) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}
