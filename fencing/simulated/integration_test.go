//go:build integration

package simulated_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

// These tests let foreign code judge the simulation: Debian's fence_redfish (package fence-agents). Run them with
// go test -tags integration ./fencing/simulated.

// agent runs fence_redfish and returns its exit code and output.
func agent(t *testing.T, bmc *simulated.BMC, args ...string) (int, string) {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(bmc.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{"-a", host, "--ipport", port, "-l", "admin", "-p", "password", "--ssl-insecure"}, args...)
	out, err := exec.CommandContext(ctx, "fence_redfish", args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, string(out)
	case errors.As(err, &exit) && ctx.Err() == nil:
		return exit.ExitCode(), string(out)
	default:
		t.Fatalf("fence_redfish %v: %v\n%s", args, err, out)
		return 0, ""
	}
}

func run(t *testing.T, c simulated.Config) *simulated.BMC {
	t.Helper()
	bmc, err := simulated.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bmc.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return bmc
}

// TestAgentDrivesSimulation: the agent finds the system by itself and switches it as it would a real one.
func TestAgentDrivesSimulation(t *testing.T) {
	bmc := run(t, simulated.Config{Delay: 300 * time.Millisecond})
	steps := []struct {
		action string
		code   int // of the agent: status 0 on, 2 off
		says   string
		power  string
	}{
		{"status", 0, "Status: ON", simulated.On},
		{"off", 0, "Success: Powered OFF", simulated.Off},
		{"status", 2, "Status: OFF", simulated.Off},
		{"off", 0, "Success: Already OFF", simulated.Off},
		{"on", 0, "Success: Powered ON", simulated.On},
		{"on", 0, "Success: Already ON", simulated.On},
		{"monitor", 0, "", simulated.On},
	}
	for _, s := range steps {
		code, out := agent(t, bmc, "-o", s.action)
		// The agent takes everything but Off for on, so it is done at PoweringOn already.
		for end := time.Now().Add(time.Minute); s.power == simulated.On && bmc.Power("1") != s.power && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if code != s.code || !strings.Contains(out, s.says) || bmc.Power("1") != s.power {
			t.Errorf("%s: exit %d, the machine is %s: %s", s.action, code, bmc.Power("1"), out)
		}
	}
}

// TestAgentAndDriverAgree: with each fault, fence_redfish and our driver come to the same verdict, except where the agent
// is known to be worse: it takes the last of several systems, and it never returns from a stall (both left out).
func TestAgentAndDriverAgree(t *testing.T) {
	for _, faults := range [][]simulated.Fault{
		{},
		{simulated.Lie},
		{simulated.StuckPoweringOff},
		{simulated.StateNull},
		{simulated.StatePaused},
		{simulated.Unauthorized},
		{simulated.Forbidden},
		{simulated.ErrorButActs},
		{simulated.VanishAfterPost},
		{simulated.NoValues},
		{simulated.NoForceOff},
	} {
		t.Run(string(append(faults, "healthy")[0]), func(t *testing.T) {
			theirs, ours := run(t, simulated.Config{}), run(t, simulated.Config{})
			if err := errors.Join(theirs.SetFault(faults...), ours.SetFault(faults...)); err != nil {
				t.Fatal(err)
			}
			code, out := agent(t, theirs, "--systems-uri", "/redfish/v1/Systems/1", "--power-timeout", "3", "-o", "off")
			device, err := redfish.New(redfish.Config{
				URL: ours.URL(), Username: "admin", Password: "password", CertSHA256: ours.Fingerprint(), System: "/redfish/v1/Systems/1",
			})
			if err != nil {
				t.Fatal(err)
			}
			r := fencing.Off(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{device}}}, fencing.Timing{Attempt: 5 * time.Second})
			if (code == 0) != (r.Outcome == fencing.Confirmed) {
				t.Errorf("the agent: exit %d, %s\nours: %s, %s", code, out, r.Outcome, r.Reason)
			}
		})
	}
}

// TestAgentTimes prints what both need above the machine's own time. It asserts nothing: it is a measurement.
func TestAgentTimes(t *testing.T) {
	const delay = 1500 * time.Millisecond
	theirs, ours := run(t, simulated.Config{Delay: delay}), run(t, simulated.Config{Delay: delay})
	started := time.Now()
	agent(t, theirs, "--systems-uri", "/redfish/v1/Systems/1", "-o", "off")
	agentTime := time.Since(started) - delay
	device, err := redfish.New(redfish.Config{URL: ours.URL(), Username: "admin", Password: "password", CertSHA256: ours.Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	started = time.Now()
	r := fencing.Off(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{device}}}, fencing.Timing{})
	t.Logf("overhead with a device of %v: fence_redfish %v, ours %v (%s)", delay, agentTime, time.Since(started)-delay, r.Outcome)
}
