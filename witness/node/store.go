package node

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
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

// openStores opens and checks the log. It reads every entry, so that a damaged
// log is found here and not as a panic in the middle of an election.
func openStores(o *Options) (*stores, error) {
	s := &stores{stable: o.StableStore, snaps: o.Snapshots}
	logs := o.LogStore
	if logs == nil || s.stable == nil {
		bolt, err := openBolt(filepath.Join(o.DataDir, logFile))
		if err != nil {
			return nil, err
		}
		s.closer = bolt
		if logs == nil {
			logs = bolt
		}
		if s.stable == nil {
			s.stable = bolt
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

func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	// bbolt panics on a damaged page, and a file cut short behind its map makes
	// the process fault; here, and only here, both become an error.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, damaged(path, fmt.Errorf("%v", p))
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType},
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("the log %s is in use by another process: stop that witness first", path)
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	if err := scan(store); err != nil {
		return nil, errors.Join(damaged(path, err), store.Close())
	}
	return store, nil
}

func damaged(path string, err error) error {
	return fmt.Errorf("the log %s is damaged and cannot be used: remove this witness from the cluster, wipe its data directory and let it join under a new name (%w)", path, err)
}

// scan reads the log from end to end.
func scan(store raft.LogStore) error {
	first, err := store.FirstIndex()
	if err != nil {
		return err
	}
	last, err := store.LastIndex()
	if err != nil {
		return err
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := store.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of %d..%d: %w", i, first, last, err)
		}
		if l.Index != i {
			return fmt.Errorf("entry %d says that it is entry %d", i, l.Index)
		}
	}
	return nil
}

// watch knows how long the oldest write that is under way has taken.
type watch struct {
	mu      sync.Mutex
	started map[uint64]time.Time
	next    uint64
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
		delete(w.started, id)
	}
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
}

// StoreLog implements raft.LogStore.
func (l *watchedLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs implements raft.LogStore.
func (l *watchedLog) StoreLogs(es []*raft.Log) error {
	defer l.watch.begin()()
	l.written.Add(uint64(len(es)))
	return l.LogStore.StoreLogs(es)
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
