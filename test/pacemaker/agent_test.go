//go:build integration

package pacemaker

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"quorate/test/lab"
	"quorate/test/patroni"
)

// bmcs makes a BMC for each node.
func bmcs(t *testing.T, c *Cluster) map[string]*patroni.BMC {
	t.Helper()
	made := map[string]*patroni.BMC{}
	labbmc := program(t, "test/cmd/labbmc")
	for _, n := range c.Nodes {
		bmc, err := patroni.NewBMC(t.Context(), c.lab, n.ID, n.Host, labbmc)
		if err != nil {
			t.Fatal(err)
		}
		made[n.Name] = bmc
	}
	return made
}

// mustRun runs a script on a node.
func mustRun(t *testing.T, n *Node, script string) string {
	t.Helper()
	out, err := n.sh(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFenceAgent runs the agent on nodes with real BMCs: metadata as the user
// that has no rights and by fence-agents' schema, and the power of a node.
func TestFenceAgent(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2}, fences: true})
	n1, n2 := c.Nodes[0], c.Nodes[1]
	url := "url=http://10.77.0.99:8080," + w.URLs() // the first one is nobody
	agent := func(input string) (string, error) {
		return n1.sh(t.Context(), "printf '"+input+"\\n"+url+"\\n' | fence_witness")
	}
	mustRun(t, n1, "fence_witness -o metadata >/tmp/metadata && xmllint --noout --relaxng /usr/share/cluster/relaxng/metadata.rng /tmp/metadata")
	mustRun(t, n1, "env -i unshare --net setpriv --reuid hacluster --regid haclient --clear-groups sh -c 'echo action=metadata | /usr/sbin/fence_witness' >/dev/null")
	if out, err := agent("action=list"); err != nil || out != "n1,\nn2,\n" {
		t.Errorf("list: %q, %v", out, err)
	}
	if _, err := agent("action=monitor\\ncluster=" + clusterName); err != nil {
		t.Errorf("monitor: %v", err)
	}
	start := time.Now()
	if out, err := agent("nodename=n2\\naction=off\\nport=n2"); err != nil {
		t.Fatalf("off: %s, %v", out, err)
	}
	t.Logf("off: %s", ms(time.Since(start)))
	if pids, err := n2.Host.Pids(); err != nil || len(pids) != 0 {
		t.Errorf("n2 still runs: %v, %v", pids, err)
	}
	var failed *lab.ExecError
	if _, err := agent("action=status\\nplug=n2"); !errors.As(err, &failed) || !strings.Contains(failed.Err.Error(), "exit status 2") {
		t.Errorf("status of what is off: %v", err)
	}
	if out, err := agent("action=on\\nplug=n2"); err != nil {
		t.Errorf("on: %s, %v", out, err)
	}
	if _, err := agent("action=status\\nplug=n2"); err != nil {
		t.Errorf("status of what is on: %v", err)
	}
	// The leader dies while it does the work: the next one carries on.
	leader, err := w.WaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	start = time.Now()
	go func() {
		_, err := agent("action=reboot\\nplug=n2")
		ended <- err
	}()
	err = lab.Until(t.Context(), bound, "the request to be taken", func(ctx context.Context) error {
		for _, x := range w.Nodes {
			raw, err := os.ReadFile(x.process.Log)
			if err != nil {
				return err
			}
			if strings.Contains(string(raw), "Pacemaker asks for reboot of n2") {
				return nil
			}
		}
		return errors.New("not yet")
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Kill(leader)
	if err := <-ended; err != nil {
		t.Errorf("reboot while the leader dies: %v", err)
	}
	t.Logf("reboot, and the leader died: %s", ms(time.Since(start)))
	if _, err := c.bmcs["n2"].OffSince(start); err != nil {
		t.Error(err)
	}
}

// stonithAdmin lets Pacemaker's own tool look at the agent.
func stonithAdmin(t *testing.T, n *Node, urls string) {
	t.Helper()
	for command, want := range map[string]string{
		"stonith_admin --list-installed":                                       "fence_witness",
		"stonith_admin --metadata -a fence_witness":                            `name="plug"`,
		"stonith_admin --validate -a fence_witness --option url=" + urls:       "",
		"stonith_admin --list " + n.Name:                                       "witness",
		"! stonith_admin --validate -a fence_witness --option url=nonsense://": "",
	} {
		if out := mustRun(t, n, command); !strings.Contains(out, want) {
			t.Errorf("%s says %q", command, out)
		}
	}
}
