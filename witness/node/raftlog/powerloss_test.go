//go:build integration && linux

package raftlog

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// The power goes: what was written but not synced is lost. The log is on an
// ext4 in a file behind a loop device; what the file system has not yet flushed
// to that device is in the page cache above it and not in the file. So a copy of
// the file, taken while the writer stands still, is the disk after a power cut.

const (
	childEnv   = "QUORATE_RAFTLOG_TEST_CHILD"
	powerCuts  = 12 // per kind of log
	imageSize  = "96M"
	maxTorment = 700 * time.Millisecond // a writer runs at most that long
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// mounted mounts an image on a directory of its own.
func mounted(t *testing.T, image string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	loop := command(t, "losetup", "--find", "--show", image)
	command(t, "mount", "-t", "ext4", loop, dir)
	done := false
	unmount = func() {
		if !done {
			done = true
			command(t, "umount", dir)
			command(t, "losetup", "--detach", loop)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

func newImage(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
	image := filepath.Join(t.TempDir(), "disk")
	command(t, "truncate", "-s", imageSize, image)
	command(t, "mkfs.ext4", "-q", "-F", image)
	return image
}

// acknowledged is what a writer says that it has done.
type acknowledged struct {
	first, last, term, vote uint64
	generation              map[uint64]uint64 // of each entry, removed ones included
	keep                    uint64            // the log may have been cut behind this entry
}

// hear takes in a line of the writer; the last one may be torn.
func (a *acknowledged) hear(line string) bool {
	if _, err := fmt.Sscanf(line, "cutting behind %d", &a.keep); err == nil {
		return true
	}
	var from, generation uint64
	if _, err := fmt.Sscanf(line, "done %d %d %d %d %d %d", &a.first, &a.last, &a.term, &a.vote, &from, &generation); err != nil {
		return false
	}
	a.keep = a.last
	for i := from; i <= a.last; i++ {
		a.generation[i] = generation
	}
	return true
}

func (a *acknowledged) String() string {
	return fmt.Sprintf("%d..%d, term %d, vote in %d", a.first, a.last, a.term, a.vote)
}

// writer is a process that writes to a log and says what is done.
type writer struct {
	cmd   *exec.Cmd
	lines chan string
}

func startWriter(t *testing.T, kind, dir string, seed uint64) *writer {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildWriter$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childEnv, kind, seed, dir))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &writer{cmd, make(chan string, 1<<20)}
	go func() {
		defer close(w.lines)
		for out := bufio.NewScanner(pipe); out.Scan(); {
			w.lines <- out.Text()
		}
	}()
	if line := <-w.lines; line != "open" {
		t.Fatalf("the writer began with %q", line)
	}
	return w
}

// kill ends the writer and adds what it has said to a.
func (w *writer) kill(t *testing.T, a *acknowledged) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for line := range w.lines {
		if !a.hear(line) {
			break
		}
	}
	for range w.lines { // to its end
	}
	_ = w.cmd.Wait() // it was killed
}

// TestChildWriter writes until it is killed: entries of many sizes in batches,
// now and then a term, a vote, a removed end, a removed beginning.
func TestChildWriter(t *testing.T) {
	var kind, dir string
	var seed uint64
	if _, err := fmt.Sscan(os.Getenv(childEnv), &kind, &seed, &dir); err != nil {
		t.Skip("runs as a child of another test")
	}
	logs, stable, _, err := openKind(kind, dir)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	rnd := rand.New(rand.NewPCG(seed, 1))
	first, last := bounds(t, logs)
	first = max(first, 1)
	term, _ := stable.GetUint64([]byte("CurrentTerm")) // not found: 0
	vote, _ := stable.GetUint64([]byte("LastVoteTerm"))
	generation := seed * 1_000_000 // rises when the end is removed: new entries differ from old ones
	for {
		from := last + 1
		var err error
		switch n := rnd.IntN(100); {
		case n < 3:
			term++
			err = stable.SetUint64([]byte("CurrentTerm"), term)
		case n < 6:
			vote = term
			err = stable.SetUint64([]byte("LastVoteTerm"), vote)
		case n < 8 && last > first+4:
			keep := last - 1 - uint64(rnd.IntN(3))
			fmt.Printf("cutting behind %d\n", keep)
			err = logs.DeleteRange(keep+1, last)
			last, from = keep, keep+1
			generation++
		case n < 9 && last > first+400:
			to := last - 200
			err = logs.DeleteRange(first, to)
			first = to + 1
		default:
			var ls []*raft.Log
			for range 1 + rnd.IntN(20) {
				last++
				ls = append(ls, tormented(last, generation))
			}
			err = logs.StoreLogs(ls)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Printf("done %d %d %d %d %d %d\n", first, last, term, vote, from, generation); err != nil {
			return
		}
	}
}

// tormented says what entry i is.
func tormented(i, generation uint64) *raft.Log {
	size := 200 + int(i*7919%3000)
	if i%97 == 0 {
		size = 100 << 10
	}
	return entries(generation, size)(i)
}

// openKind opens a log of one of the kinds that are compared.
func openKind(kind, dir string) (raft.LogStore, raft.StableStore, func() error, error) {
	if kind == "wal" {
		s, err := Open(dir, hclog.NewNullLogger())
		if err != nil {
			return nil, nil, nil, err
		}
		return s, s.Stable(), s.Close, nil
	}
	b, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "bolt"), NoSync: kind == "bolt-nosync",
		BoltOptions: &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType, NoSync: kind == "bolt-nosync"},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return b, b, b.Close, nil
}

// lost opens a log after a power cut and says what is missing of what was
// acknowledged. What is there besides is acknowledged from now on.
func lost(t *testing.T, kind, dir string, a *acknowledged) error {
	t.Helper()
	var logs raft.LogStore
	var stable raft.StableStore
	var closeAll func() error
	err := func() (err error) {
		defer faultsToErrors(&err)()
		logs, stable, closeAll, err = openKind(kind, dir)
		return err
	}()
	if err != nil {
		return err
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	// What was under way may be there or not: an append, a removed end.
	first, last := bounds(t, logs)
	if last < a.keep || a.keep > 0 && first == 0 {
		return fmt.Errorf("the log is %d..%d", first, last)
	}
	for i := max(a.first, first); i <= a.keep; i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of %d..%d: %w", i, first, last, err)
		}
		if want := tormented(i, a.generation[i]); l.Index != i || l.Term != want.Term || string(l.Data) != string(want.Data) {
			return fmt.Errorf("entry %d is not what was written", i)
		}
	}
	for i := a.keep + 1; i <= last; i++ { // written, but the writer could not say so any more
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of %d..%d: %w", i, first, last, err)
		}
		a.generation[i] = l.Term
	}
	for key, want := range map[string]uint64{"CurrentTerm": a.term, "LastVoteTerm": a.vote} {
		if got, err := stable.GetUint64([]byte(key)); want > 0 && err != nil || got < want {
			return fmt.Errorf("%s is %d (%w), acknowledged was %d", key, got, err, want)
		}
	}
	return nil
}

// cutPower lets a writer run for a random time on a new file system and takes
// the power away.
func cutPower(t *testing.T, kind string, seed uint64) (*acknowledged, error) {
	t.Helper()
	image := newImage(t)
	dir, unmount := mounted(t, image)
	rnd := rand.New(rand.NewPCG(seed, 2))
	w := startWriter(t, kind, dir, seed)
	time.Sleep(time.Duration(rnd.Int64N(int64(maxTorment)))) // the moment is what varies
	// Stopped, not killed: a process that ends would sync nothing either, but
	// the page cache is copied beside a writer that stands still.
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(t.TempDir(), "after")
	command(t, "cp", "--sparse=always", image, after)
	a := &acknowledged{generation: map[uint64]uint64{}}
	w.kill(t, a)
	unmount()
	dir, unmount = mounted(t, after) // replays the journal of ext4
	defer unmount()
	return a, lost(t, kind, dir, a)
}

func TestPowerLoss(t *testing.T) {
	for _, kind := range []string{"wal", "bolt"} {
		t.Run(kind, func(t *testing.T) {
			entries := uint64(0)
			for seed := range uint64(powerCuts) {
				a, err := cutPower(t, kind, seed)
				if err != nil {
					t.Errorf("cut %d, acknowledged %s: %v", seed, a, err)
				}
				entries += a.last
			}
			if entries < 1000 {
				t.Errorf("only %d entries were written in all: this test tests nothing", entries)
			}
			t.Logf("%d power cuts, %d acknowledged entries", powerCuts, entries)
		})
	}
}

// The test can fail: a log that is not synced loses entries.
func TestPowerLossIsNoticed(t *testing.T) {
	for seed := range uint64(powerCuts) {
		if a, err := cutPower(t, "bolt-nosync", seed); err != nil {
			t.Logf("cut %d, acknowledged %s: %v", seed, a, err)
			return
		}
	}
	t.Error("a log without syncs lost nothing: the power cut of this test is none")
}

// A killed process leaves what it has written, synced or not. The next one goes
// on where it ended, many times over.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	a := &acknowledged{generation: map[uint64]uint64{}}
	for round := range uint64(20) {
		w := startWriter(t, "wal", dir, round)
		time.Sleep(time.Duration(rand.New(rand.NewPCG(round, 3)).Int64N(int64(maxTorment) / 4)))
		w.kill(t, a)
		if err := lost(t, "wal", dir, a); err != nil {
			t.Fatalf("round %d, acknowledged %s: %v", round, a, err)
		}
	}
}

// A process that was killed may have written what it had not yet synced. The
// next one reads it, and Raft counts it: so it has to be synced by then.
func TestPowerLossAfterAKill(t *testing.T) {
	c := entries(1, 1000)
	image := newImage(t)
	dir, unmount := mounted(t, image)
	s := mustOpen(t, dir)
	add(t, s, 1, 100, c, 10)
	before := copyLog(t, dir)
	add(t, s, 101, 150, c, 10)
	mustClose(t, s)
	written, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	// The same log, synced up to 100, with the rest written but not synced.
	path := segments(t, dir)[0]
	if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	command(t, "sync", "-f", dir)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(written[:end(written)], 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	holds(t, s, 1, 150, c)
	after := filepath.Join(t.TempDir(), "after")
	command(t, "cp", "--sparse=always", image, after)
	mustClose(t, s)
	unmount()
	dir, _ = mounted(t, after)
	s = mustOpen(t, dir)
	holds(t, s, 1, 150, c)
	mustClose(t, s)
}
