package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// smallDisk returns a directory on a file system of its own, with a file that
// can be removed to make room.
func smallDisk(t *testing.T, size string, ballast int) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	file = filepath.Join(dir, "ballast")
	if err := os.WriteFile(file, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// A full disk shows when the next segment begins. raft-wal then refuses
// everything for ever, so the witness must be told to start again; nothing that
// was acknowledged is lost, and with room the log goes on.
func TestFullDiskLosesNothing(t *testing.T) {
	dir, ballast := smallDisk(t, "18m", 6<<20)
	c := entries(1, 100<<10)
	s := mustOpen(t, dir)
	last := uint64(0)
	var err error
	for ; err == nil && last < 200; last++ {
		err = s.StoreLog(c(last + 1))
	}
	last-- // the one that failed
	if !errors.Is(err, ErrStuck) {
		t.Fatalf("after %d entries: %v", last, err)
	}
	if err := s.StoreLogs([]*raft.Log{c(last + 1)}); !errors.Is(err, ErrStuck) {
		t.Errorf("once more: %v", err)
	}
	holds(t, s, 1, last, c)
	if err := s.Close(); err != nil {
		t.Logf("closing: %v", err) // there may be no room for the floor
	}
	if s, err := Open(dir, hclog.NewNullLogger()); err == nil {
		holds(t, s, 1, last, c) // the empty next segment may exist, only not with its full size
		mustClose(t, s)
	} else if !strings.Contains(err.Error(), "has no room for the log; free space") {
		t.Errorf("opening with a full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	holds(t, s, 1, last, c)
	add(t, s, last+1, last+20, c, 1)
	mustClose(t, reopened(t, s, dir, 1, last+20, c))
}
