package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killWait is how long the output of a killed agent is waited for: a process that left its group may keep the pipe open.
const killWait = 500 * time.Millisecond

// execute runs a program with input on its standard input and nothing in its arguments, where everybody could read it. At
// the end of ctx, and when it exits, its whole process group is killed. The error is nil if it ran to an exit code.
func execute(ctx context.Context, path, input string) (code int, output string, err error) {
	if ctx.Err() != nil {
		return 0, "", context.Cause(ctx)
	}
	var out tail
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "HOME=/"} // not ours: it may hold secrets, and PCMK_ variables
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killWait
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	// The process is not reaped before its group is killed, so its number cannot have become another's.
	group := cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-group, unix.SIGKILL) })
	for {
		if err := unix.Waitid(unix.P_PID, group, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	stop()
	_ = unix.Kill(-group, unix.SIGKILL) // what it left behind
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, out.String(), fmt.Errorf("killed: %w", context.Cause(ctx))
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, out.String(), nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), out.String(), nil
	default:
		return 0, out.String(), err
	}
}
