package etcdapi

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"quorate/witness/kv"
)

// Memory is the trivial Backend: one node, no log, nothing survives. It is for
// demonstrations and tests. Run ends leases.
type Memory struct {
	mu        sync.Mutex
	store     *kv.Store
	index     uint64
	changed   chan struct{}
	deadlines map[int64]time.Time
	self      Member
}

var _ Backend = (*Memory)(nil)

// memoryTick is how often Memory looks for leases that have ended.
const memoryTick = 100 * time.Millisecond

// NewMemory returns an empty store that presents itself to clients as self.
func NewMemory(self Member) *Memory {
	return &Memory{
		store: kv.New(), index: 1, changed: make(chan struct{}), deadlines: map[int64]time.Time{}, self: self,
	}
}

// Run ends leases that were not renewed, until ctx ends.
func (m *Memory) Run(ctx context.Context) error {
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			m.expire(now)
		}
	}
}

func (m *Memory) expire(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range m.deadlines {
		if now.Before(at) {
			continue
		}
		delete(m.deadlines, id)
		if next, _, err := m.store.Revoke(id); err == nil {
			m.publish(next)
		}
	}
}

// publish needs the lock.
func (m *Memory) publish(next *kv.Store) {
	m.store = next
	m.index++
	close(m.changed)
	m.changed = make(chan struct{})
}

// Store implements Backend.
func (m *Memory) Store() *kv.Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store
}

// Changed implements Backend.
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Barrier implements Backend: a single node is never behind.
func (m *Memory) Barrier(context.Context) error { return nil }

// Txn implements Backend.
func (m *Memory) Txn(_ context.Context, t kv.TxnRequest) (kv.TxnResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, res, _, err := m.store.Txn(t)
	if err == nil {
		m.publish(next)
	}
	return res, err
}

// Compact implements Backend.
func (m *Memory) Compact(_ context.Context, rev int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.store.Compact(rev)
	if err == nil {
		m.publish(next)
	}
	return err
}

// Grant implements Backend.
func (m *Memory) Grant(_ context.Context, id, ttl int64) (int64, int64, error) {
	for id == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		id = int64(binary.LittleEndian.Uint64(b[:]) >> 1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.store.Grant(id, max(ttl, 1))
	if err != nil {
		return 0, 0, err
	}
	m.publish(next)
	m.deadlines[id] = deadline(max(ttl, 1))
	return id, max(ttl, 1), nil
}

// deadline copes with TTLs that a time.Duration cannot hold.
func deadline(ttl int64) time.Time {
	const century = 100 * 365 * 24 * 3600
	return time.Now().Add(time.Duration(min(ttl, century)) * time.Second)
}

// Revoke implements Backend.
func (m *Memory) Revoke(_ context.Context, id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, _, err := m.store.Revoke(id)
	if err == nil {
		delete(m.deadlines, id)
		m.publish(next)
	}
	return err
}

// KeepAlive implements Backend.
func (m *Memory) KeepAlive(_ context.Context, id int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.store.Lease(id)
	if !ok || l.Dead {
		return 0, nil
	}
	m.deadlines[id] = deadline(l.TTL)
	return l.TTL, nil
}

// Fencing takes every dead lease for that of a holder who is being powered off.
func (m *Memory) Fencing(int64) bool { return true }

// TimeToLive implements Backend.
func (m *Memory) TimeToLive(_ context.Context, id int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.deadlines[id]
	if !ok {
		return 0, kv.ErrLeaseNotFound
	}
	return max(0, int64(time.Until(at)/time.Second)), nil
}

// MoveLeader implements Backend: the only member leads already.
func (m *Memory) MoveLeader(context.Context, uint64) error { return nil }

// Identity implements Backend.
func (m *Memory) Identity() Identity { return Identity{ClusterID: 1, MemberID: m.self.ID} }

// Status implements Backend.
func (m *Memory) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Status{Term: 1, AppliedIndex: m.index, LeaderID: m.self.ID, HasLeader: true}
}

// Members implements Backend.
func (m *Memory) Members() []Member { return []Member{m.self} }

// Kill ends a lease while its keys stay, see kv.Store.Kill.
func (m *Memory) Kill(id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.store.Kill(id)
	if err == nil {
		delete(m.deadlines, id)
		m.publish(next)
	}
	return err
}
