package raftlog

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Small segments make the tests write fewer bytes, and begin new ones more often.
func TestMain(m *testing.M) {
	segmentSize = 1 << 20
	os.Exit(m.Run())
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// content says what entry i is.
type content func(i uint64) *raft.Log

// entries have a term and a size.
func entries(term uint64, size int) content {
	return func(i uint64) *raft.Log {
		return &raft.Log{Index: i, Term: term, Data: slices.Repeat([]byte{byte(i), byte(term)}, size/2)}
	}
}

// add appends entries first..last in batches.
func add(t *testing.T, s raft.LogStore, first, last uint64, c content, batch int) {
	t.Helper()
	for i := first; i <= last; {
		var ls []*raft.Log
		for ; i <= last && len(ls) < batch; i++ {
			ls = append(ls, c(i))
		}
		if err := s.StoreLogs(ls); err != nil {
			t.Fatal(err)
		}
	}
}

func bounds(t *testing.T, s raft.LogStore) (first, last uint64) {
	t.Helper()
	first, err := s.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	if last, err = s.LastIndex(); err != nil {
		t.Fatal(err)
	}
	return first, last
}

// holds checks that the log is exactly first..last.
func holds(t *testing.T, s raft.LogStore, first, last uint64, c content) {
	t.Helper()
	if f, l := bounds(t, s); f != first || l != last {
		t.Fatalf("the log is %d..%d, want %d..%d", f, l, first, last)
	}
	for i := first; i <= last && i > 0; i++ {
		var got raft.Log
		if err := s.GetLog(i, &got); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if want := c(i); got.Index != i || got.Term != want.Term || string(got.Data) != string(want.Data) {
			t.Fatalf("entry %d is not what was written: index %d, term %d, %d bytes", i, got.Index, got.Term, len(got.Data))
		}
	}
	for _, i := range []uint64{first - 1, last + 1} {
		if i == 0 || i == math.MaxUint64 {
			continue
		}
		if err := s.GetLog(i, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d, which is not there: %v", i, err)
		}
	}
}

// reopened checks the same after a clean restart.
func reopened(t *testing.T, s *Store, dir string, first, last uint64, c content) *Store {
	t.Helper()
	holds(t, s, first, last, c)
	mustClose(t, s)
	s = mustOpen(t, dir)
	holds(t, s, first, last, c)
	return s
}

func TestAppendAndReopen(t *testing.T) {
	dir := t.TempDir()
	c := entries(3, 300)
	s := reopened(t, mustOpen(t, dir), dir, 0, 0, c)
	add(t, s, 1, 500, c, 7)
	if err := s.Stable().SetUint64([]byte("CurrentTerm"), 3); err != nil {
		t.Fatal(err)
	}
	s = reopened(t, s, dir, 1, 500, c)
	if term, err := s.Stable().GetUint64([]byte("CurrentTerm")); err != nil || term != 3 {
		t.Errorf("term %d, %v", term, err)
	}
	add(t, s, 501, 600, c, 1)
	mustClose(t, reopened(t, s, dir, 1, 600, c))
}

func TestManySegmentsAndLargeEntries(t *testing.T) {
	dir := t.TempDir()
	c := func(i uint64) *raft.Log {
		if i == 20 {
			return entries(1, 6<<20)(i) // larger than a segment
		}
		return entries(1, 1<<20)(i)
	}
	s := mustOpen(t, dir)
	add(t, s, 1, 30, c, 3)
	s = reopened(t, s, dir, 1, 30, c)
	add(t, s, 31, 33, c, 1)
	mustClose(t, reopened(t, s, dir, 1, 33, c))
}

// A follower removes the end of its log when a new leader disagrees. raft-wal
// v0.4.0 could not read such a log after a restart (its issue 31).
func TestConflictingSuffix(t *testing.T) {
	for _, from := range []uint64{1, 2, 57, 100} { // all, and within each of several segments
		dir := t.TempDir()
		before, after := entries(1, 100<<10), entries(2, 90<<10)
		s := mustOpen(t, dir)
		add(t, s, 1, 100, before, 5)
		if err := s.DeleteRange(from, 100); err != nil {
			t.Fatal(err)
		}
		if from == 1 {
			s = reopened(t, s, dir, 0, 0, before)
		} else {
			s = reopened(t, s, dir, 1, from-1, before)
		}
		both := func(i uint64) *raft.Log {
			if i < from {
				return before(i)
			}
			return after(i)
		}
		add(t, s, from, 110, both, 1)
		mustClose(t, reopened(t, s, dir, 1, 110, both))
	}
}

// Deleted entries are gone at once, also those in the segment being written.
func TestCompactionWithinASegment(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 100)
	s := mustOpen(t, dir)
	add(t, s, 1, 100, c, 10)
	if err := s.DeleteRange(1, 60); err != nil {
		t.Fatal(err)
	}
	s = reopened(t, s, dir, 61, 100, c)
	add(t, s, 101, 120, c, 10)
	mustClose(t, reopened(t, s, dir, 61, 120, c))
}

// A snapshot lets Raft delete the beginning of the log: the space comes back.
func TestCompactionFreesSpace(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 100<<10)
	s := mustOpen(t, dir)
	for last := uint64(100); last <= 1000; last += 100 {
		add(t, s, last-99, last, c, 10)
		if err := s.DeleteRange(1, last-50); err != nil {
			t.Fatal(err)
		}
		holds(t, s, last-49, last, c)
		// 50 entries of 100 KiB, the segment they begin in, the one being
		// written, and the one being begun.
		if size := diskUse(t, dir); size > 5<<20+3*int64(segmentSize)+1<<20 {
			t.Errorf("%d KiB on disk", size>>10)
		}
	}
	mustClose(t, reopened(t, s, dir, 951, 1000, c))
}

func diskUse(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	files, err := filepath.Glob(filepath.Join(dir, folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil { // a segment may go at this moment
			sum += info.Size()
		}
	}
	return sum
}

// A follower that was away too long gets a snapshot. Raft then empties a log
// that says it is monotonic, and goes on behind the snapshot.
func TestSnapshotInstall(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 1000)
	s := mustOpen(t, dir)
	if !s.IsMonotonic() {
		t.Fatal("Raft is not told that there must be no gap")
	}
	add(t, s, 1, 100, c, 10)
	mustClose(t, s)
	s = mustOpen(t, dir) // the floor is 100 now
	if err := s.DeleteRange(1, 100); err != nil {
		t.Fatal(err)
	}
	s = reopened(t, s, dir, 0, 0, c)
	add(t, s, 5001, 5100, c, 10)
	mustClose(t, reopened(t, s, dir, 5001, 5100, c))
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if _, err := Open(dir, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second open: %v", err)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, dir))
}
