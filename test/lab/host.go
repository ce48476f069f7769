package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Host is one machine of a lab.
type Host struct {
	lab       *Lab
	name, ip  string
	namespace string

	mu        sync.Mutex
	processes []*Process
	machine   *machine // nil unless booted
}

// Name is the host's name in the lab.
func (h *Host) Name() string { return h.name }

// IP is the host's address on the lab's bridge.
func (h *Host) IP() string { return h.ip }

// Namespace is the name of the host's network namespace as `ip netns` knows it.
func (h *Host) Namespace() string { return h.namespace }

// Command is a process to run in a host.
type Command struct {
	// Name names the log file; empty means the program's base name.
	Name string
	// User runs the process as this user; empty means root.
	User string
	// Dir is the working directory; empty means the lab's data directory.
	Dir string
	// Env is added to a minimal environment (PATH, HOME, LANG).
	Env []string
	// Argv is the program and its arguments.
	Argv []string
}

// Process is a running (or finished) process of a host.
type Process struct {
	// PID is its process id and its process group.
	PID int
	// Log is the path of its output.
	Log string

	done chan struct{}
	err  error
}

// Done is closed when the process has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is why the process ended; only to be read after Done.
func (p *Process) Err() error { return p.err }

// Kill sends signal 9 to the process and its group.
func (p *Process) Kill() {
	select {
	case <-p.done: // the id may belong to somebody else by now
	default:
		_ = syscall.Kill(-p.PID, syscall.SIGKILL) // gone already is fine
	}
}

// Start runs a command in the host in a process group of its own, its output
// appended to LogDir/<host>-<name>.log. The process ends with KillAll, Kill or
// the lab's Cleanup.
func (h *Host) Start(c Command) (*Process, error) {
	name := c.Name
	if name == "" {
		name = filepath.Base(c.Argv[0])
	}
	path := filepath.Join(h.lab.logDir, h.name+"-"+name+".log")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	cmd := h.command(context.Background(), c)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, h.name, err)
	}
	p := &Process{PID: cmd.Process.Pid, Log: path, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	h.mu.Lock()
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	h.lab.log.Info("start", "host", h.name, "process", name, "pid", p.PID)
	return p, nil
}

// Exec runs a command in the host to its end and returns its standard output.
// The error carries its standard error.
func (h *Host) Exec(ctx context.Context, c Command) (string, error) {
	cmd := h.command(ctx, c)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return stdout.String(), &ExecError{Argv: c.Argv, Stdout: stdout.String(), Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

// ExecError is a command that ran and failed.
type ExecError struct {
	Argv           []string
	Stdout, Stderr string
	Err            error
}

// Error tells the command, its exit and what it wrote to standard error.
func (e *ExecError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Argv, " "), e.Err, strings.TrimSpace(e.Stderr))
}

// Unwrap returns the underlying error, an *exec.ExitError if the command ran.
func (e *ExecError) Unwrap() error { return e.Err }

// command enters the namespace and drops to the user by programs that replace
// themselves, so that the started process keeps the recorded pid. Entering a
// booted host's process table needs one process more: the recorded pid is then
// that of the process group.
func (h *Host) command(ctx context.Context, c Command) *exec.Cmd {
	argv := h.enter()
	home := "/root"
	if c.User != "" {
		argv = append(argv, "setpriv", "--reuid", c.User, "--regid", c.User, "--init-groups", "--")
		home = "/var/lib/" + c.User
	}
	argv = append(argv, c.Argv...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = h.lab.dataDir
	}
	cmd.Env = append([]string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8",
	}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// KillAll is a power loss: it kills every process in the host's namespace, and
// nothing else, until none is left.
func (h *Host) KillAll(ctx context.Context) error {
	h.lab.log.Info("kill all", "host", h.name)
	return KillNamespace(ctx, h.namespace)
}

// Pids returns the ids of the processes that run in the host.
func (h *Host) Pids() ([]int, error) { return namespacePids(h.namespace) }

// wait returns when every started process of the host was waited for.
func (h *Host) wait() {
	h.mu.Lock()
	processes := h.processes
	h.mu.Unlock()
	for _, p := range processes {
		<-p.done
	}
}
