//go:build integration

package patroni

import (
	"context"
	"testing"
	"time"

	"quorate/test/lab"
)

// TestBMCKillsItsHostOnly powers a host off that nothing else can reach.
func TestBMCKillsItsHostOnly(t *testing.T) {
	l, _ := newLab(t, t.Name())
	victim, err := l.Host(t.Context(), "db1", "10.77.0.21")
	if err != nil {
		t.Fatal(err)
	}
	bmc, err := NewBMC(t.Context(), l, 1, victim, program(t, "test/cmd/labbmc"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := victim.Start(lab.Command{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Isolate(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	out, err := bmc.Host.Exec(t.Context(), lab.Command{Argv: []string{
		"curl", "-sS", "-k", "-u", BMCUser + ":" + BMCPassword, "-H", "Content-Type: application/json",
		"-d", `{"ResetType":"ForceOff"}`, bmc.URL + "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
	}})
	if err != nil {
		t.Fatal(err, out)
	}
	err = lab.Until(t.Context(), bound, "the host to be off", func(context.Context) error {
		_, err := bmc.OffSince(start)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-process.Done():
	case <-time.After(bound):
		t.Error("a process outlived the power-off")
	}
	if pids, err := bmc.Host.Pids(); err != nil || len(pids) == 0 {
		t.Errorf("the BMC itself is dead: %v", err)
	}
}
