package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quorate/witness/node/raftlog"
)

// fullDisk returns a directory on a file system without room for our probe.
func fullDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// A log that cannot go on ends the witness: its supervisor starts it again, and
// Open says what is wrong until there is room.
func TestFullDiskEndsTheWitness(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	o := Options{
		Name: "a", Cluster: "full", DataDir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0",
		Peers: map[string]string{"a": "127.0.0.1:1"}, Bootstrap: true,
	}
	LAN(&o)
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	until(t, "it leads", n.IsLeader)
	for i := 0; ; i++ {
		select {
		case err := <-done:
			if !errors.Is(err, raftlog.ErrStuck) || !strings.Contains(err.Error(), "free space on its disk") {
				t.Errorf("the witness ended with: %v", err)
			}
			return
		default:
		}
		if i > 1000 {
			t.Fatal("the disk never was full")
		}
		_, _ = n.Propose(ctx, putCmd("/k", fmt.Sprint(i)+strings.Repeat("v", 200<<10), 0)) // fails when it is
	}
}
