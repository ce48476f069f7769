package node

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness/node/raftlog"
)

// stores is what a node keeps on disk.
type stores struct {
	log    *watchedLog
	stable raft.StableStore
	snaps  raft.SnapshotStore
	closer io.Closer
}

func (s *stores) close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// openStores opens and checks the log; see package raftlog.
func openStores(o *Options) (*stores, error) {
	s := &stores{stable: o.StableStore, snaps: o.Snapshots}
	logs := o.LogStore
	if logs == nil || s.stable == nil {
		disk, err := raftlog.Open(o.DataDir, newHCLogger(o.Log))
		if err != nil {
			return nil, err
		}
		s.closer = disk
		if logs == nil {
			logs = disk
		}
		if s.stable == nil {
			s.stable = disk.Stable()
		}
	}
	s.log = &watchedLog{LogStore: logs}
	s.stable = watchedStable{StableStore: s.stable, watch: &s.log.watch}
	if s.snaps == nil {
		snaps, err := raft.NewFileSnapshotStoreWithLogger(o.DataDir, 2, newHCLogger(o.Log))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot use the snapshot directory in %s: %w", o.DataDir, err), s.close())
		}
		s.snaps = snaps
	}
	return s, nil
}

// watch knows how long the oldest write that is under way has taken.
type watch struct {
	mu      sync.Mutex
	started map[uint64]time.Time
	next    uint64
	longest time.Duration // of the writes that ended since it was asked for
}

func (w *watch) begin() (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started == nil {
		w.started = map[uint64]time.Time{}
	}
	w.next++
	id := w.next
	w.started[id] = time.Now()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.longest = max(w.longest, time.Since(w.started[id]))
		delete(w.started, id)
	}
}

// slowest returns how long the slowest write took that ended since the last call.
func (w *watch) slowest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.longest
	w.longest = 0
	return took
}

// age returns how long the oldest write under way has taken; 0 if there is none.
func (w *watch) age() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var oldest time.Duration
	for _, t := range w.started {
		oldest = max(oldest, time.Since(t))
	}
	return oldest
}

// watchedLog measures the writes of a log.
type watchedLog struct {
	raft.LogStore
	watch   watch
	written atomic.Uint64 // entries
	stuck   atomic.Bool   // no write will ever succeed again
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l *watchedLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// StoreLog implements raft.LogStore.
func (l *watchedLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs implements raft.LogStore.
func (l *watchedLog) StoreLogs(es []*raft.Log) error {
	defer l.watch.begin()()
	l.written.Add(uint64(len(es)))
	err := l.LogStore.StoreLogs(es)
	if errors.Is(err, raftlog.ErrStuck) {
		l.stuck.Store(true)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (l *watchedLog) DeleteRange(first, last uint64) error {
	defer l.watch.begin()()
	return l.LogStore.DeleteRange(first, last)
}

// watchedStable measures the writes of term and vote.
type watchedStable struct {
	raft.StableStore
	watch *watch
}

// Set implements raft.StableStore.
func (s watchedStable) Set(k, v []byte) error {
	defer s.watch.begin()()
	return s.StableStore.Set(k, v)
}

// SetUint64 implements raft.StableStore.
func (s watchedStable) SetUint64(k []byte, v uint64) error {
	defer s.watch.begin()()
	return s.StableStore.SetUint64(k, v)
}
