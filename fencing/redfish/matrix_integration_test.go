//go:build integration

package redfish_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

// adversary is a BMC as hostile as real ones are.
type adversary struct {
	name   string
	config simulated.Config
	auth   redfish.Auth
	faults []simulated.Fault
	off    bool // the machine is off at the start
	any    bool // the system is not named: each side finds it by itself
}

func adversaries() []adversary {
	s := simulated.Config{Delay: 300 * time.Millisecond}
	slow := s
	slow.AnswerDelay = 10 * time.Second
	two := simulated.Config{Delay: s.Delay, Systems: []simulated.System{{}, {}}}
	list := []adversary{
		{name: "healthy", config: s},
		{name: "off already, 409 to ForceOff", config: s, faults: faults(simulated.ConflictWhenOff), off: true},
		{name: "silent after TLS", config: s, faults: faults(simulated.StallTLS)},
		{name: "silent before TLS", config: s, faults: faults(simulated.StallConnect)},
		{name: "every answer after 10 s", config: slow, faults: faults(simulated.SlowAnswers)},
		{name: "401", config: s, faults: faults(simulated.Unauthorized)},
		{name: "403 to the action", config: s, faults: faults(simulated.Forbidden)},
		{name: "412 to If-Match", config: s, faults: faults(simulated.RefuseIfMatch)},
		{name: "412 without If-Match", config: s, faults: faults(simulated.WantIfMatch412)},
		{name: "428 without If-Match", config: s, faults: faults(simulated.RequireIfMatch)},
		{name: "500 to the action", config: s, faults: faults(simulated.ServerError)},
		{name: "500 to the action, which works", config: s, faults: faults(simulated.ErrorButActs)},
		{name: "503 to everything", config: s, faults: faults(simulated.Unavailable)},
		{name: "sessions used up", config: s, auth: redfish.AuthSession, faults: faults(simulated.SessionsFull)},
		{name: "PoweringOff for ever", config: s, faults: faults(simulated.StuckPoweringOff)},
		{name: "Paused", config: s, faults: faults(simulated.StatePaused)},
		{name: "PowerState null", config: s, faults: faults(simulated.StateNull)},
		{name: "empty body in between", config: s, faults: faults(simulated.EmptyBody)},
		{name: "empty body for ever", config: s, faults: faults(simulated.EmptyBodyAlways)},
		{name: "202 with a task", config: s, faults: faults(simulated.AcceptTask)},
		{name: "202, the task fails", config: s, faults: faults(simulated.TaskFails)},
		{name: "204 and no effect", config: s, faults: faults(simulated.Lie)},
		{name: "Off at every other reading", config: s, faults: faults(simulated.FlickersOff, simulated.Lie)},
		{name: "action never answered", config: s, faults: faults(simulated.StallPost)},
		{name: "vanishes after the action", config: s, faults: faults(simulated.VanishAfterPost)},
		{name: "silent after the action", config: s, faults: faults(simulated.StallAfterPost)},
		{name: "no ForceOff offered", config: s, faults: faults(simulated.NoForceOff)},
		{name: "no values listed", config: s, faults: faults(simulated.NoValues)},
		{name: "two systems, the wrong one last", config: two, any: true},
	}
	return list
}

// said is what one side said about a device, and what the device was afterwards.
type said struct {
	says string
	off  bool // it claimed success
	is   string
	took time.Duration
}

// agentLimit is when fence_redfish is killed: it would never return from a silent BMC.
const agentLimit = 20 * time.Second

// TestMatrix lets Quorate and Debian's fence_redfish fence the same hostile BMCs, and prints what each says and what the
// machine is. Ours never says off about a machine that runs, and ends within its deadline; what the agent does is only
// written down. The machine meant is system 1.
func TestMatrix(t *testing.T) {
	list := adversaries()
	ours, theirs := make([]said, len(list)), make([]said, len(list))
	var wg sync.WaitGroup
	agents := make(chan struct{}, 8) // each is a Python interpreter
	for i, a := range list {
		mine, its := startBMC(t, a.config), startBMC(t, a.config)
		for _, bmc := range []*simulated.BMC{mine, its} {
			if a.off {
				if err := bmc.SetPower("1", simulated.Off); err != nil {
					t.Fatal(err)
				}
			}
			if err := bmc.SetFault(a.faults...); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() { ours[i] = fenceByUs(t, a, mine) })
		wg.Go(func() {
			agents <- struct{}{}
			defer func() { <-agents }()
			theirs[i] = fenceByAgent(t, a, its)
		})
	}
	wg.Wait()
	var table strings.Builder
	table.WriteString("| BMC | Quorate says | it is | fence_redfish says | it is |\n|---|---|---|---|---|\n")
	for i, a := range list {
		o, p := ours[i], theirs[i]
		fmt.Fprintf(&table, "| %s | %s, %.1f s | %s | %s, %.1f s | %s |\n", a.name, o.says, o.took.Seconds(), o.is, p.says, p.took.Seconds(), p.is)
		if o.off && o.is != simulated.Off {
			t.Errorf("%s: Quorate said off about a machine that runs", a.name)
		}
		// The attempt has 6 s; the rest is room for a machine under load.
		if o.took > time.Minute {
			t.Errorf("%s: Quorate needed %v", a.name, o.took)
		}
	}
	t.Logf("what each says and what the machine is:\n%s", table.String())
}

func fenceByUs(t *testing.T, a adversary, bmc *simulated.BMC) said {
	c := config(bmc)
	c.Auth = a.auth
	if !a.any {
		c.System = "/redfish/v1/Systems/1"
	}
	d, err := redfish.New(c)
	if err != nil {
		t.Error(err)
		return said{}
	}
	started := time.Now()
	r := fencing.Off(t.Context(), host(d), fencing.Timing{Attempt: 6 * time.Second})
	return said{says: string(r.Outcome), off: r.Outcome == fencing.Confirmed, is: bmc.Power("1"), took: time.Since(started)}
}

func fenceByAgent(t *testing.T, a adversary, bmc *simulated.BMC) said {
	address, port, err := net.SplitHostPort(strings.TrimPrefix(bmc.URL(), "https://"))
	if err != nil {
		t.Error(err)
		return said{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), agentLimit)
	defer cancel()
	args := []string{
		"-a", address, "--ipport", port, "-l", "admin", "-p", password, "--ssl-insecure", "--power-timeout", "3", "--login-timeout", "2",
		"--shell-timeout", "2", "-o", "off",
	}
	if !a.any {
		args = append(args, "--systems-uri", "/redfish/v1/Systems/1")
	}
	cmd := exec.CommandContext(ctx, "fence_redfish", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	started := time.Now()
	err = cmd.Run()
	s := said{is: bmc.Power("1"), took: time.Since(started)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		s.says = "nothing (killed)"
	case err == nil:
		s.says, s.off = "success", true
	case errors.As(err, &exit):
		s.says = fmt.Sprintf("failed (exit %d)", exit.ExitCode())
	default:
		t.Error(err)
	}
	return s
}
