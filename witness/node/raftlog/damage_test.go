package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// copyLog copies a data directory, also one that is open: what a process that
// is killed at this moment leaves.
func copyLog(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, folder, "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", dir, err)
	}
	return files
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(raw), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// end returns where the zeros at the end of a segment begin.
func end(raw []byte) int {
	n := len(raw)
	for n > 0 && raw[n-1] == 0 {
		n--
	}
	return n
}

// Whatever byte is damaged, in whichever file: the log is refused, or every
// entry is still there. That is not true of raft-wal alone.
func TestNoDamageGoesUnnoticed(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 2000)
	s := mustOpen(t, dir)
	add(t, s, 1, 600, c, 50) // one full segment, and one begun
	mustClose(t, s)
	files := segments(t, dir)
	if len(files) != 2 {
		t.Fatalf("%d segments", len(files))
	}
	kinds := map[string]func(raw []byte, at int) []byte{
		"flipped":           func(raw []byte, at int) []byte { raw[at] ^= 0x5a; return raw },
		"zeroed to the end": func(raw []byte, at int) []byte { clear(raw[at:]); return raw },
		"a block zeroed":    func(raw []byte, at int) []byte { clear(raw[at:min(at+512, len(raw))]); return raw },
		"cut short":         func(raw []byte, at int) []byte { return raw[:at] },
	}
	refused, kept := 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < end(raw); at += max(end(raw)/12, 1) + 13 {
			for kind, f := range kinds {
				bad := copyLog(t, dir)
				edit(t, filepath.Join(bad, folder, filepath.Base(file)), func(b []byte) []byte { return f(b, at) })
				s, err := Open(bad, hclog.NewNullLogger())
				if err != nil {
					refused++
					if !strings.Contains(err.Error(), "is damaged and cannot be used: remove this witness") {
						t.Errorf("%s at %d of %s: %v", kind, at, filepath.Base(file), err)
					}
					continue
				}
				kept++
				holds(t, s, 1, 600, c)
				mustClose(t, s)
			}
		}
	}
	if refused < 50 {
		t.Errorf("only %d of %d damaged logs were refused", refused, refused+kept)
	}
	t.Logf("%d refused, %d unharmed", refused, kept)
}

// After a crash the floor is old. What is missing in the middle is noticed
// all the same, from what the records behind it say.
func TestHoleBehindACrash(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 1000)
	s := mustOpen(t, dir)
	defer s.Close()
	add(t, s, 1, 300, c, 10)
	for _, at := range []int{3000, 100_000, 250_000} {
		bad := copyLog(t, dir) // not closed: the floor is 0
		edit(t, segments(t, bad)[0], func(b []byte) []byte { clear(b[at : at+4096]); return b })
		if s, err := Open(bad, hclog.NewNullLogger()); err == nil {
			_, last := bounds(t, s)
			mustClose(t, s)
			t.Errorf("a hole at %d was taken for the end: the log ends with %d", at, last)
		}
	}
}

// A write that was torn by a crash was never acknowledged: it is forgotten.
func TestTornWriteIsForgotten(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 1000)
	s := mustOpen(t, dir)
	defer s.Close()
	add(t, s, 1, 300, c, 10)
	torn := copyLog(t, dir)
	add(t, s, 301, 310, c, 10)
	raw, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(segments(t, torn)[0])
	if err != nil {
		t.Fatal(err)
	}
	from, to := end(before)/512*512, end(raw)
	for _, tear := range []func(b []byte){
		func(b []byte) { copy(b[from:], raw[from:from+4096]) },                         // its beginning got there
		func(b []byte) { copy(b[to-3000:], raw[to-3000:to]) },                          // its end
		func(b []byte) { copy(b[from:], raw[from:]); clear(b[from+2048 : from+2560]) }, // all but one sector
	} {
		dir := copyLog(t, torn)
		edit(t, segments(t, dir)[0], func(b []byte) []byte { tear(b); return b })
		s := mustOpen(t, dir)
		holds(t, s, 1, 300, c)
		add(t, s, 301, 302, c, 1) // shorter writes over the torn one
		s = reopened(t, s, dir, 1, 302, c)
		add(t, s, 303, 400, c, 10)
		mustClose(t, reopened(t, s, dir, 1, 400, c))
	}
}

// A supervisor starts a witness again that has refused its log. The log is as
// damaged as before.
func TestRefusedTwice(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 2000)
	s := mustOpen(t, dir)
	add(t, s, 1, 100, c, 10)
	mustClose(t, s)
	for name, damage := range map[string]func([]byte) []byte{
		"the end is zeros":    func(b []byte) []byte { clear(b[100_000:]); return b },
		"a checksum is wrong": func(b []byte) []byte { b[3000] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			bad := copyLog(t, dir)
			edit(t, segments(t, bad)[0], damage)
			for try := range 3 {
				if s, err := Open(bad, hclog.NewNullLogger()); err == nil {
					_, last := bounds(t, s)
					mustClose(t, s)
					t.Fatalf("start %d: opened, and ends with entry %d of 100", try+1, last)
				}
			}
		})
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	add(t, s, 1, 90, entries(1, 100<<10), 10)
	if err := s.DeleteRange(1, 30); err != nil { // the first segment is gone, and may not begin anew
		t.Fatal(err)
	}
	mustClose(t, s)
	files := segments(t, dir)
	for _, name := range []string{stableFile, metadb.FileName, filepath.Base(files[0]), filepath.Base(files[len(files)-1])} {
		bad := copyLog(t, dir)
		if err := os.Remove(filepath.Join(bad, folder, name)); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(bad, hclog.NewNullLogger()); err == nil {
			mustClose(t, s)
			t.Errorf("a log without %s was opened", name)
		} else if !strings.Contains(err.Error(), "is damaged and cannot be used") {
			t.Errorf("without %s: %v", name, err)
		}
		if left := len(segments(t, bad)); left < len(files)-1 {
			t.Errorf("without %s: %d of %d segments were deleted", name, len(files)-left, len(files))
		}
	}
}

// failingMeta is a list of segments that cannot be written any more: what comes
// after that is as after a crash between a full segment and the next one.
type failingMeta struct{ metadb.BoltMetaDB }

func (failingMeta) CommitState(types.PersistentState) error { return errors.New("crash") }

func sealed(t *testing.T, l *raft.Log, synced uint64) *raft.Log {
	t.Helper()
	l, err := seal(l, synced)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// crashAtRotation makes a log with entries 1..last whose last segment is full.
func crashAtRotation(t *testing.T, c content) (dir string, last uint64) {
	t.Helper()
	dir = t.TempDir()
	s := mustOpen(t, dir)
	add(t, s, 1, 30, c, 10)
	mustClose(t, s)
	w, err := wal.Open(filepath.Join(dir, folder), wal.WithMetaStore(&failingMeta{}), wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	for last = 30; ; last += 2 {
		err := w.StoreLogs([]*raft.Log{sealed(t, c(last+1), last), sealed(t, c(last+2), last)})
		if errors.Is(err, wal.ErrSealed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, last
}

// raft-wal alone opens such a log and can never write to it again.
func TestCrashBeforeTheNextSegment(t *testing.T) {
	c := entries(1, 20<<10)
	dir, last := crashAtRotation(t, c)
	w, err := wal.Open(filepath.Join(copyLog(t, dir), folder), wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StoreLog(sealed(t, c(last+1), last)); !errors.Is(err, wal.ErrSealed) {
		t.Errorf("raft-wal writes to a full segment (%v): checkTail may not be needed any more", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir)
	holds(t, s, 1, last, c)
	add(t, s, last+1, last+100, c, 7)
	mustClose(t, reopened(t, s, dir, 1, last+100, c))
}

// The write that should have filled the segment was torn: it is forgotten, and
// what is left of its index is not believed.
func TestTornLastWriteOfASegment(t *testing.T) {
	c := entries(1, 20<<10)
	dir, last := crashAtRotation(t, c)
	raw, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	commit := (end(raw)+7)/8*8 - 8 // the frame that closes the write: type 3, checksum
	for name, tear := range map[string]func([]byte){
		"no commit":    func(b []byte) { clear(b[commit : commit+8]) },
		"wrong index":  func(b []byte) { clear(b[commit-64 : commit]) },
		"no last part": func(b []byte) { clear(b[commit-30_000:]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyLog(t, dir)
			edit(t, segments(t, dir)[0], func(b []byte) []byte { tear(b); return b })
			s := mustOpen(t, dir)
			holds(t, s, 1, last-2, c)
			add(t, s, last-1, last+60, c, 7)
			mustClose(t, reopened(t, s, dir, 1, last+60, c))
		})
	}
}

// The first write of all was so large that it filled the segment, and was torn.
func TestTornOnlyWriteOfASegment(t *testing.T) {
	dir := t.TempDir()
	c := entries(1, 5<<20)
	mustClose(t, mustOpen(t, dir))
	w, err := wal.Open(filepath.Join(dir, folder), wal.WithMetaStore(&failingMeta{}), wal.WithLogger(hclog.NewNullLogger()))
	if err == nil {
		err = errors.Join(w.StoreLog(sealed(t, c(1), 0)), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	edit(t, segments(t, dir)[0], func(b []byte) []byte { clear(b[1<<20 : 2<<20]); return b })
	s := mustOpen(t, dir)
	holds(t, s, 0, 0, c)
	add(t, s, 1, 3, c, 1)
	mustClose(t, reopened(t, s, dir, 1, 3, c))
}
