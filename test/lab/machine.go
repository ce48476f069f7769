package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bootBound is how long a machine's set-up may take.
const bootBound = 60 * time.Second

// Boot gives the host what a network namespace alone does not: mounts, IPC
// objects, a host name and a process table of its own, for software with fixed
// paths. setup is a bash script that runs in them before Boot returns; what it
// mounts is seen only in this host. Start and Exec then run inside.
//
// After a power loss (KillAll) everything of it is gone but the files below the
// mounts; the host must be booted again before anything can run in it.
func (h *Host) Boot(ctx context.Context, setup string) error {
	h.mu.Lock()
	h.machine = nil
	h.mu.Unlock()
	ready := filepath.Join(h.lab.dataDir, h.name+".ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// bash as process 1 reaps orphans; a signal to the group must not end it.
	script := "set -e\nmount --make-rprivate /\nhostname " + h.name + "\n" + setup +
		"\n: >" + ready + "\nset +e\ntrap '' TERM INT HUP\nwhile :; do sleep 3600 & wait; done\n"
	holder, err := h.Start(Command{Name: "machine", Argv: []string{
		"unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--mount-proc", "--propagation", "private",
		"bash", "-c", script,
	}})
	if err != nil {
		return err
	}
	err = Until(ctx, bootBound, "the machine "+h.name, func(context.Context) error {
		select {
		case <-holder.Done():
			return nil // and there is nothing to wait for
		default:
			_, err := os.Stat(ready)
			return err
		}
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(ready); err != nil {
		return fmt.Errorf("the set-up of the machine %s failed, see %s", h.name, holder.Log)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", holder.PID, holder.PID))
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return fmt.Errorf("process 1 of %s: %w", h.name, err)
	}
	h.mu.Lock()
	h.machine = &machine{first: first, holder: holder}
	h.mu.Unlock()
	return nil
}

// machine is the namespaces that a booted host has beside its network.
type machine struct {
	first  int // its process 1, as seen from outside
	holder *Process
}

// enter is the command line prefix that runs a command in the host.
func (h *Host) enter() []string {
	h.mu.Lock()
	m := h.machine
	h.mu.Unlock()
	if m == nil {
		return []string{"ip", "netns", "exec", h.namespace}
	}
	select {
	case <-m.holder.Done(): // its process id may be somebody else's by now
		return []string{"sh", "-c", "echo the machine is off: boot it first >&2; exit 125", h.name}
	default:
	}
	return []string{"nsenter", "--target", strconv.Itoa(m.first), "--mount", "--net", "--ipc", "--uts", "--pid", "--"}
}
