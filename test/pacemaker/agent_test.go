//go:build integration

package pacemaker

import (
	"context"
	"errors"
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

// TestFenceAgent lets Pacemaker's own tools call the agent: metadata as the user
// that has no rights, validation, and power-off and reboot of a real node.
func TestFenceAgent(t *testing.T) {
	l := newLab(t)
	q, err := NewQnetd(t.Context(), l, 1)
	if err != nil {
		t.Fatal(err)
	}
	agents, err := Agents(l, program(t, "cmd/fence_witness"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := l.Host(t.Context(), "client", "10.77.0.50")
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWitnesses(t.Context(), l, client, program(t, "cmd/witnessd"), program(t, "cmd/witnessctl"), WitnessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCluster(t.Context(), l, Settings{Nodes: 2, Addresses: []string{q.Host.IP()}, Agents: agents})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(t.Context(), c, bmcs(t, c), noCluster); err != nil {
		t.Fatal(err)
	}
	n1, n2 := c.Nodes[0], c.Nodes[1]
	url := "url=http://10.77.0.99:8080," + w.URLs() // the first one is nobody

	mustRun(t, n1, "fence_witness -o metadata >/tmp/metadata && xmllint --noout --relaxng /usr/share/cluster/relaxng/metadata.rng /tmp/metadata")
	mustRun(t, n1, "env -i unshare --net setpriv --reuid hacluster --regid haclient --clear-groups sh -c 'echo action=metadata | /usr/sbin/fence_witness' >/dev/null")
	if out := mustRun(t, n1, "printf 'action=list\n"+url+"\n' | fence_witness"); out != "n1,\nn2,\n" {
		t.Errorf("list: %q", out)
	}

	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.StartPacemaker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, n1, "stonith_admin --list-installed"); !strings.Contains(out, "fence_witness") {
		t.Errorf("Pacemaker does not find the agent: %q", out)
	}
	if out := mustRun(t, n1, "stonith_admin --metadata -a fence_witness"); !strings.Contains(out, `name="plug"`) {
		t.Errorf("metadata: %q", out)
	}
	mustRun(t, n1, "stonith_admin --validate -a fence_witness --option "+url)
	if _, err := n1.sh(t.Context(), "stonith_admin --validate -a fence_witness --option url=nonsense://"); err == nil {
		t.Error("a wrong address is valid")
	}
	if err := c.Configure(t.Context(), strings.TrimPrefix(url, "url=")+"\" /><nvpair id=\"none\" name=\"unknown\" value=\"ignored"); err != nil {
		t.Fatal(err)
	}
	// The hosts are in no cluster here.
	mustRun(t, n1, "crm_resource --resource witness --delete-parameter cluster")
	err = lab.Until(t.Context(), bound, "the fencer to know the agent's nodes", func(ctx context.Context) error {
		out, err := n1.sh(ctx, "stonith_admin --list n2")
		if err == nil && !strings.Contains(out, "witness") {
			err = errors.New(out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	mustRun(t, n1, "stonith_admin --fence n2 --timeout 40")
	t.Logf("stonith_admin --fence: %s", ms(time.Since(start)))
	if pids, err := n2.Host.Pids(); err != nil || len(pids) != 0 {
		t.Errorf("n2 still runs: %v, %v", pids, err)
	}
	if out := mustRun(t, n1, "stonith_admin --history n2 -V"); !strings.Contains(out, "turning off of n2 successful") {
		t.Errorf("history: %q", out)
	}
}
