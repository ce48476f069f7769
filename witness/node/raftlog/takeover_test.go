package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// legacy makes a data directory as earlier versions did: entries 1..1000, with
// the first 40 compacted away.
func legacy(t *testing.T, c content) string {
	t.Helper()
	dir := t.TempDir()
	b, err := openBolt(filepath.Join(dir, legacyFile))
	if err != nil {
		t.Fatal(err)
	}
	add(t, b, 1, 1000, c, 100)
	if err := errors.Join(b.DeleteRange(1, 40), b.SetUint64([]byte("CurrentTerm"), 9),
		b.SetUint64([]byte("LastVoteTerm"), 8), b.Set([]byte("LastVoteCand"), []byte("witness-b")), b.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func takenOver(t *testing.T, dir string, c content) {
	t.Helper()
	for range 2 { // and again after a restart
		s := mustOpen(t, dir)
		holds(t, s, 41, 1000, c)
		term, err := s.Stable().GetUint64([]byte("CurrentTerm"))
		if err != nil || term != 9 {
			t.Errorf("term %d, %v", term, err)
		}
		voted, err := s.Stable().GetUint64([]byte("LastVoteTerm"))
		if err != nil || voted != 8 {
			t.Errorf("vote in term %d, %v", voted, err)
		}
		cand, err := s.Stable().Get([]byte("LastVoteCand"))
		if err != nil || string(cand) != "witness-b" {
			t.Errorf("vote for %q, %v", cand, err)
		}
		mustClose(t, s)
		for _, gone := range []string{legacyFile, building} {
			if _, err := os.Stat(filepath.Join(dir, gone)); err == nil {
				t.Errorf("%s is still there", gone)
			}
		}
	}
}

func TestLogOfAnEarlierVersion(t *testing.T) {
	c := entries(1, 2000)
	takenOver(t, legacy(t, c), c)
}

// The process may be killed at any moment of it; the next one begins again, or
// finds it done.
func TestTakeOverIsCrashSafe(t *testing.T) {
	c := entries(1, 2000)
	t.Run("half built", func(t *testing.T) {
		dir := legacy(t, c)
		if err := os.Mkdir(filepath.Join(dir, building), 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := openDir(filepath.Join(dir, building), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		add(t, s, 41, 300, entries(7, 50), 9)
		// Not closed, as by kill -9: what it locked goes with this process only,
		// so the new attempt must not wait for it.
		takenOver(t, dir, c)
		mustClose(t, s)
	})
	t.Run("renamed, the old file not yet removed", func(t *testing.T) {
		dir := legacy(t, c)
		old, err := os.ReadFile(filepath.Join(dir, legacyFile))
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, mustOpen(t, dir))
		if err := os.WriteFile(filepath.Join(dir, legacyFile), old, 0o600); err != nil {
			t.Fatal(err)
		}
		takenOver(t, dir, c)
	})
}

// What cannot be read is not taken over, and stays as it is.
func TestDamagedLogOfAnEarlierVersion(t *testing.T) {
	dir := legacy(t, entries(1, 2000))
	path := filepath.Join(dir, legacyFile)
	edit(t, path, func(b []byte) []byte { clear(b[16384 : len(b)/2]); return b })
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, hclog.NewNullLogger())
	if err == nil {
		mustClose(t, s)
		t.Fatal("it was opened")
	}
	if !strings.Contains(err.Error(), path+" is damaged and cannot be used") {
		t.Errorf("error: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the damaged file was changed: %v", err)
	}
}
