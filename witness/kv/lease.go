package kv

import "iter"

// MaxLeaseTTL is etcd's bound on the TTL of a lease, in seconds.
const MaxLeaseTTL int64 = 9_000_000_000

// Lease is a promise with a lifetime that the owner of the Store keeps outside of
// it; the Store only knows which keys hang on it. It is immutable.
type Lease struct {
	ID  int64
	TTL int64 // seconds, as granted
	// Epoch tells incarnations apart: it is new after each Grant and Revive and
	// never used twice in one Store. An order to end a lease names the epoch that
	// it was decided for, so that a stale order hits nothing.
	Epoch uint64
	// Dead means that the lease has ended but its keys stay until Revoke: renewals
	// and puts with it must be refused.
	Dead bool

	keys Map[string, struct{}]
}

// Keys returns the keys that are attached to the lease, sorted.
func (l *Lease) Keys() []string {
	keys := make([]string, 0, l.keys.Len())
	for k := range l.keys.All() {
		keys = append(keys, k)
	}
	return keys
}

// Lease returns the lease with that id, dead ones included.
func (s *Store) Lease(id int64) (*Lease, bool) { return s.leases.Get(id) }

// Leases iterates over all leases in the order of their ids, dead ones included.
func (s *Store) Leases() iter.Seq[*Lease] {
	return func(yield func(*Lease) bool) {
		for _, l := range s.leases.All() {
			if !yield(l) {
				return
			}
		}
	}
}

// Grant creates a lease of ttl seconds (at least 1). The caller chooses the id,
// which must not be 0, and applies its own lower bound to the ttl.
// Errors: ErrLeaseExists (dead leases count), ErrLeaseTTLTooLarge, and
// ErrLeaseNotFound for id 0, as in etcd.
func (s *Store) Grant(id, ttl int64) (*Store, error) {
	switch {
	case id == 0:
		return s, ErrLeaseNotFound
	case ttl > MaxLeaseTTL:
		return s, ErrLeaseTTLTooLarge
	}
	if _, ok := s.leases.Get(id); ok {
		return s, ErrLeaseExists
	}
	next := *s
	next.epoch++
	next.leases = s.leases.Set(id, &Lease{ID: id, TTL: max(ttl, 1), Epoch: next.epoch})
	next.size += entryOverhead
	next.digest = digestLease(s.digest, opGrant, id, ttl)
	return &next, nil
}

// Revoke ends a lease, dead or alive, and deletes its keys in sorted order in one
// revision. Without keys the revision stays. Errors: ErrLeaseNotFound.
func (s *Store) Revoke(id int64) (*Store, []Event, error) {
	l, ok := s.leases.Get(id)
	if !ok {
		return s, nil, ErrLeaseNotFound
	}
	next := *s
	x := &txn{base: s, s: &next, rev: s.rev + 1}
	for key := range l.keys.All() {
		x.delete(&DeleteRequest{Key: []byte(key)})
	}
	if len(x.events) > 0 {
		x.commit()
	}
	next.leases = next.leases.Delete(id)
	next.size -= entryOverhead
	next.digest = digestLease(next.digest, opRevoke, id, 0)
	return &next, x.events, nil
}

// Kill marks a lease dead. Its keys stay; puts with it fail with ErrLeaseNotFound
// until it is revived. Killing a dead lease changes nothing.
// Errors: ErrLeaseNotFound.
func (s *Store) Kill(id int64) (*Store, error) { return s.setDead(id, true) }

// Revive makes a dead lease live again, with a new epoch: whatever was decided
// about the old one is void. Reviving a live lease changes nothing.
// Errors: ErrLeaseNotFound.
func (s *Store) Revive(id int64) (*Store, error) { return s.setDead(id, false) }

func (s *Store) setDead(id int64, dead bool) (*Store, error) {
	old, ok := s.leases.Get(id)
	if !ok {
		return s, ErrLeaseNotFound
	}
	if old.Dead == dead {
		return s, nil
	}
	next, l, op := *s, *old, opKill
	l.Dead = dead
	if !dead {
		op = opRevive
		next.epoch++
		l.Epoch = next.epoch
	}
	next.leases = s.leases.Set(id, &l)
	next.digest = digestLease(s.digest, op, id, 0)
	return &next, nil
}

// attach and detach change s in place: it must be a copy that nobody else sees.
// Lease 0 and leases that no longer exist (in replayed history) are ignored.
func (s *Store) attach(id int64, key string) {
	if l, ok := s.leases.Get(id); ok {
		s.setKeys(l, l.keys.Set(key, struct{}{}))
	}
}

func (s *Store) detach(id int64, key string) {
	if l, ok := s.leases.Get(id); ok {
		s.setKeys(l, l.keys.Delete(key))
	}
}

func (s *Store) setKeys(l *Lease, keys Map[string, struct{}]) {
	changed := *l
	changed.keys = keys
	s.leases = s.leases.Set(l.ID, &changed)
}
