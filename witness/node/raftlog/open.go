package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/hashicorp/raft-wal/metadb"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	folder     = "raft"
	building   = "raft.new" // becomes folder by a rename
	legacyFile = "raft.db"  // log, term and vote of earlier versions
)

// Exists says whether a data directory has a log, of this version or an earlier one.
func Exists(dataDir string) (bool, error) {
	for _, name := range []string{folder, legacyFile} {
		_, err := os.Stat(filepath.Join(dataDir, name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// Open opens the log of a data directory and reads every entry of it, so that a
// damaged log is found here and not in the middle of an election. An empty
// directory gets an empty log, a log of an earlier version is taken over.
func Open(dataDir string, log hclog.Logger) (*Store, error) {
	lock, err := lockDir(dataDir)
	if err != nil {
		return nil, err
	}
	s, err := open(dataDir, log)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

func open(dataDir string, log hclog.Logger) (*Store, error) {
	path, old := filepath.Join(dataDir, folder), filepath.Join(dataDir, legacyFile)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = build(dataDir, log)
	}
	if err != nil {
		return nil, err
	}
	// raft-wal would begin an empty log, and delete the segments, if its list is gone.
	for _, name := range []string{stableFile, metadb.FileName} {
		if _, err := os.Stat(filepath.Join(path, name)); err != nil {
			return nil, damaged(path, err)
		}
	}
	s, err := openDir(path, log)
	if err != nil {
		return nil, damaged(path, err)
	}
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("cannot remove the log of an earlier version, which was taken over: %w", err), s.Close())
	}
	return s, nil
}

// build makes the log directory: empty, or with what the legacy file holds.
func build(dataDir string, log hclog.Logger) error {
	path, tmp := filepath.Join(dataDir, folder), filepath.Join(dataDir, building)
	old := filepath.Join(dataDir, legacyFile)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	s, err := openDir(tmp, log)
	if err != nil {
		return unwritable(dataDir, err)
	}
	if _, err = os.Stat(old); err == nil {
		err = s.takeOver(old)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := syncDir(tmp); err != nil {
		return unwritable(dataDir, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(dataDir)
}

// stableKeys are all that hashicorp/raft v1 keeps in a stable store.
var stableKeys = []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"}

// takeOver copies everything from a log of an earlier version.
func (s *Store) takeOver(path string) error {
	old, err := openLegacy(path)
	if err != nil {
		return err
	}
	err = errors.Join(s.copyFrom(old), old.Close())
	if err != nil {
		return unwritable(filepath.Dir(path), fmt.Errorf("taking over the log %s of an earlier version: %w", path, err))
	}
	return nil
}

func (s *Store) copyFrom(old *raftboltdb.BoltStore) error {
	first, err := old.FirstIndex()
	if err != nil {
		return err
	}
	last, err := old.LastIndex()
	if err != nil {
		return err
	}
	var batch []*raft.Log
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := old.GetLog(i, &l); err != nil {
			return err
		}
		if batch = append(batch, &l); len(batch) == 256 || i == last {
			if err := s.StoreLogs(batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	for _, key := range stableKeys {
		v, err := old.Get([]byte(key))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			continue
		}
		if err == nil {
			err = s.stable.Set([]byte(key), v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openLegacy opens and reads a log of an earlier version.
func openLegacy(path string) (*raftboltdb.BoltStore, error) {
	b, err := readLegacy(path)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, inUse(path)
	case err != nil:
		return nil, damaged(path, err)
	}
	return b, nil
}

func readLegacy(path string) (b *raftboltdb.BoltStore, err error) {
	defer faultsToErrors(&err)()
	if b, err = openBolt(path); err != nil {
		return nil, err
	}
	if err := scan(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// lockDir takes the data directory, which the kernel gives back when the
// process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("cannot lock the data directory %s: %w", dir, err), f.Close())
		}
		if time.Since(began) > lockTime {
			return nil, errors.Join(inUse(dir), f.Close())
		}
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func inUse(path string) error {
	return fmt.Errorf("the log %s is in use by another process: stop that witness first", path)
}

func damaged(path string, err error) error {
	if full(err) {
		return unwritable(filepath.Dir(path), err)
	}
	return fmt.Errorf("the log %s is damaged and cannot be used: remove this witness from the cluster, wipe its data directory and let it join under a new name (%w)", path, err)
}

func unwritable(dir string, err error) error {
	if !full(err) {
		return err
	}
	return fmt.Errorf("data directory %s has no room for the log; free space, at least %d MiB, then start again: %w", dir, 2*segmentSize>>20, err)
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}
