package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"
)

const (
	stableFile = "stable.db"
	lockTime   = 2 * time.Second // a witness that is restarted waits for its predecessor
)

// segmentSize is what a segment takes on the disk from its beginning. The 10,000
// entries that Raft keeps behind a snapshot take one or two, for entries of a few
// hundred bytes, and 32 to 64 MiB in all; a small disk can do that. In a smaller one the
// few syncs for the next segment would show in the 99th percentile of the writes
// of a busy leader. Larger entries fit, too; they make a segment longer.
// Only tests change it.
var segmentSize = 16 << 20

// floorKey holds, in the stable store, an index that the log has reached: a log
// that ends before it has lost entries. It is written when the log is opened
// and closed, and lowered before entries are deleted.
var floorKey = []byte("QuorateLogFloor")

// ErrStuck is returned by every write after raft-wal could not begin the next
// segment, as on a full disk. Nothing acknowledged is lost, but only opening
// the log again, once there is room, helps.
var ErrStuck = errors.New("the log could not begin its next segment: free space on its disk and start this witness again")

// Store is an open log. It implements raft.LogStore and raft.MonotonicLogStore.
type Store struct {
	wal    *wal.WAL
	stable *raftboltdb.BoltStore
	lock   *os.File

	writing sync.Mutex // Raft compacts the log beside its writes
	synced  uint64     // every entry up to here is on the disk
	floor   uint64     // see floorKey
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
)

// openDir opens the two stores in dir and checks every entry.
func openDir(dir string, log hclog.Logger) (s *Store, err error) {
	defer faultsToErrors(&err)()
	if err := syncAll(dir); err != nil {
		return nil, err
	}
	if err := checkTail(dir); err != nil {
		return nil, err
	}
	s = &Store{}
	if s.stable, err = openBolt(filepath.Join(dir, stableFile)); err != nil {
		return nil, err
	}
	if s.wal, err = wal.Open(dir, wal.WithSegmentSize(segmentSize), wal.WithLogger(log)); err != nil {
		return nil, errors.Join(err, s.stable.Close())
	}
	if err := s.check(); err != nil {
		// Not s.Close: the floor has to refuse this log the next time, too.
		return nil, errors.Join(err, s.wal.Close(), s.stable.Close())
	}
	return s, nil
}

// syncAll syncs what is in dir. A process that was killed may have written an
// entry or a vote without syncing it; whoever reads it counts it as stored, and
// raft-wal and bbolt do not sync when they open a file.
func syncAll(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !file.Type().IsRegular() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, file.Name()), os.O_RDWR, 0)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// faultsToErrors makes errors of two things while a log is opened: the panic of
// bbolt on a damaged page, and the memory fault on a file that was cut short
// behind its map. Defer what it returns.
func faultsToErrors(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%v", p)
		}
	}
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType},
	})
}

// check reads everything, and raises the floor.
func (s *Store) check() error {
	if err := scan(s); err != nil {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	floor, err := s.stable.GetUint64(floorKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	if last < floor {
		return fmt.Errorf("it ends with entry %d, but entries up to %d were written", last, floor)
	}
	s.floor = floor
	s.synced = last
	return s.setFloor(last)
}

func (s *Store) setFloor(index uint64) error {
	if index == s.floor {
		return nil
	}
	if err := s.stable.SetUint64(floorKey, index); err != nil {
		return err
	}
	s.floor = index
	return nil
}

// scan reads a log from end to end.
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

// Stable returns the store of term and vote.
func (s *Store) Stable() raft.StableStore { return s.stable }

// IsMonotonic implements raft.MonotonicLogStore: there are no gaps in the log.
// Without it Raft would, after a snapshot from the leader, go on behind the gap.
func (s *Store) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// GetLog implements raft.LogStore.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	// raft-wal goes on answering with deleted entries of its last segment.
	if first, err := s.wal.FirstIndex(); err != nil {
		return err
	} else if index < first {
		return raft.ErrLogNotFound
	}
	var sealed raft.Log
	err := s.wal.GetLog(index, &sealed)
	if errors.Is(err, wal.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	return unseal(&sealed, l)
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *Store) StoreLogs(ls []*raft.Log) error {
	if len(ls) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	sealed := make([]*raft.Log, len(ls))
	for i, l := range ls {
		var err error
		if sealed[i], err = seal(l, s.synced); err != nil {
			return err
		}
	}
	err := s.wal.StoreLogs(sealed)
	if errors.Is(err, wal.ErrSealed) {
		return ErrStuck
	}
	if err == nil {
		s.synced = ls[len(ls)-1].Index
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(first, last uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	head, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	end, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	if last >= end { // the log ends earlier from now on
		keep := uint64(0)
		if first > head {
			keep = min(first-1, end)
		}
		if err := s.setFloor(min(s.floor, keep)); err != nil {
			return err
		}
		s.synced = min(s.synced, keep)
	}
	return s.wal.DeleteRange(first, last)
}

// Close closes the log and notes how far it reaches.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	if last, e := s.wal.LastIndex(); e == nil && last > s.floor {
		err = s.setFloor(last)
	}
	err = errors.Join(err, s.wal.Close(), s.stable.Close())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
