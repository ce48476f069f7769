//go:build integration && linux

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// frozen is a file system of its own, whose writes can be made to hang.
type frozen struct {
	t   *testing.T
	dir string
}

func newFrozen(t *testing.T) *frozen {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	base := t.TempDir()
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "disk")
	f := &frozen{t, dir}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.run("truncate", "-s", "64M", image)
	f.run("mkfs.ext4", "-q", "-F", image)
	loop := f.run("losetup", "--find", "--show", image)
	t.Cleanup(func() { f.run("losetup", "--detach", loop) })
	f.run("mount", loop, dir)
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "--unfreeze", dir).Run() // fails if it is not frozen, which is well
		f.run("umount", dir)
	})
	return f
}

func (f *frozen) run(name string, args ...string) string {
	f.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// The disk of the leader stops answering, as a worn SD card does for seconds.
// hashicorp/raft alone would keep the leadership for as long as it takes.
func TestLeaderWithAFrozenDiskIsReplaced(t *testing.T) {
	disks := map[string]*frozen{"a": newFrozen(t), "b": newFrozen(t), "c": newFrozen(t)}
	r := newReal(t, func(o *Options) {
		o.DataDir = filepath.Join(disks[o.Name].dir, "data")
		o.DiskTimeout = 2 * time.Second
	}, "a", "b", "c")
	for range 3 {
		lead := r.leader()
		name := lead.opts.Name
		put(t, lead.Node, "/before", "v")
		disks[name].run("fsfreeze", "--freeze", disks[name].dir)
		began := time.Now()
		go func() { _, _ = lead.Propose(t.Context(), putCmd("/stuck", "v", 0)) }()
		var next *running
		until(t, "another leader", func() bool {
			for other, n := range r.live {
				if other != name && n.IsLeader() && n.VerifyLeader(t.Context()) == nil {
					next = n
				}
			}
			return next != nil
		})
		put(t, next.Node, "/meanwhile", name)
		took := time.Since(began)
		t.Logf("disk of %s frozen: writes go on after %s", name, took)
		if took > 10*time.Second { // DiskTimeout, an election, and much patience
			t.Errorf("writes stood still for %s", took)
		}
		if err := lead.VerifyLeader(t.Context()); err == nil {
			t.Error("the frozen leader proved its leadership")
		}
		disks[name].run("fsfreeze", "--unfreeze", disks[name].dir)
		until(t, "the thawed witness follows", func() bool {
			kv := lead.State().KV.Get("/meanwhile")
			return kv != nil && string(kv.Value) == name
		})
		put(t, r.leader().Node, "/after", name)
		r.settle()
	}
}
