//go:build integration

package agent_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/agent"
	"quorate/fencing/simulated"
)

// These tests run Debian's own agents (package fence-agents). Run them with go test -tags integration ./fencing/agent.

func startBMC(t *testing.T, faults ...simulated.Fault) (*simulated.BMC, agent.Config) {
	t.Helper()
	bmc, err := simulated.New(simulated.Config{Password: "bmc-password"})
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
	if err := bmc.SetFault(faults...); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(bmc.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	return bmc, agent.Config{Agent: "fence_redfish", StatusTimeout: time.Minute, CallTimeout: time.Minute, AttemptTimeout: 2 * time.Minute, Options: map[string]string{
		"ip": host, "ipport": port, "username": "admin", "password": "bmc-password", "ssl_insecure": "1",
		"systems_uri": "/redfish/v1/Systems/1", "power_timeout": "3",
	}}
}

// TestFenceRedfish: off and on through the agent, as the simulated machine sees it.
func TestFenceRedfish(t *testing.T) {
	t.Parallel()
	bmc, c := startBMC(t)
	tm := fencing.Timing{Operation: 5 * time.Minute, AttemptOn: 2 * time.Minute}
	r := fencing.Reboot(t.Context(), host(open(t, c)), tm)
	if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Confirmed || bmc.Power("1") != simulated.On {
		t.Fatalf("%+v", r)
	}
	var order []string
	for _, command := range bmc.Commands() {
		order = append(order, command.ResetType)
	}
	if got := strings.Join(order, " "); got != "ForceOff On" {
		t.Errorf("commands %q", got)
	}
	ready, err := open(t, c).Check(t.Context())
	if err != nil || !ready.Ready() {
		t.Errorf("%+v, %v", ready, err)
	}
}

// TestFenceRedfishFaults: what the agent makes of a faulty BMC never becomes a proof; the agent that hangs for ever is killed.
func TestFenceRedfishFaults(t *testing.T) {
	t.Parallel()
	for fault, outcome := range map[simulated.Fault]fencing.Outcome{
		simulated.StallTLS: fencing.Refused, simulated.Unauthorized: fencing.Refused, simulated.Lie: fencing.Unknown,
		simulated.StuckPoweringOff: fencing.Unknown,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel() // they wait
			bmc, c := startBMC(t, fault)
			c.StatusTimeout, c.AttemptTimeout = 12*time.Second, 20*time.Second
			started := time.Now()
			r := fencing.Off(t.Context(), host(open(t, c)), fencing.Timing{Operation: time.Minute})
			if r.Outcome != outcome || bmc.Power("1") != simulated.On {
				t.Errorf("%s, the machine is %s: %s", r.Outcome, bmc.Power("1"), r.Reason)
			}
			if strings.Contains(r.Reason, "bmc-password") {
				t.Errorf("the password is in %s", r.Reason)
			}
			t.Logf("%s after %v: %s", r.Outcome, time.Since(started), r.Reason)
		})
	}
}

// TestFenceDummy: the simplest agent there is.
func TestFenceDummy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("on"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := agent.Config{
		Agent: "fence_dummy", Options: map[string]string{"status_file": file}, StatusTimeout: time.Minute, CallTimeout: time.Minute, AttemptTimeout: 2 * time.Minute,
	}
	r := fencing.Off(t.Context(), host(open(t, c)), fencing.Timing{Operation: 5 * time.Minute})
	if data, err := os.ReadFile(file); r.Outcome != fencing.Confirmed || string(data) != "off" {
		t.Fatalf("%s, the file says %q (%v): %s", r.Outcome, data, err, r.Reason)
	}
	ready, err := open(t, c).Check(t.Context())
	if err != nil || !strings.Contains(strings.Join(ready.Warnings, " "), "false success high") {
		t.Errorf("%+v, %v", ready, err)
	}
}
