package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killPoll is how long KillNamespace waits between two looks.
const killPoll = 2 * time.Millisecond

// KillNamespace kills (signal 9) every process whose network namespace is the
// named one and returns when none is left. A namespace that does not exist has
// no processes. The context bounds the wait for processes that do not die.
func KillNamespace(ctx context.Context, namespace string) error {
	for {
		pids, err := namespacePids(namespace)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill %d in %s: %w", pid, namespace, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of namespace %s do not die: %w", pids, namespace, ctx.Err())
		case <-time.After(killPoll):
		}
	}
}

// namespacePids lists the processes of a namespace, as `ip netns pids` does,
// without starting a process: power loss must be quick. Zombies have no
// namespace any more and are not listed. The caller's own namespace is refused,
// whatever the name resolves to.
func namespacePids(namespace string) ([]int, error) {
	want, err := inode(filepath.Join("/run/netns", namespace))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own, err := inode("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	if want == own {
		return nil, fmt.Errorf("namespace %s is the caller's own", namespace)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		got, err := inode("/proc/" + e.Name() + "/ns/net")
		if err == nil && got == want {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

type nsID struct{ dev, ino uint64 }

func inode(path string) (nsID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return nsID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return nsID{dev: uint64(st.Dev), ino: st.Ino}, nil
}
