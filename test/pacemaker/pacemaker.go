package pacemaker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"quorate/test/lab"
)

// Agents makes a folder of fence agents to be laid over a node's /usr/sbin, with
// the given programs in it.
func Agents(l *lab.Lab, programs ...string) (string, error) {
	dir := filepath.Join(l.DataDir(), "agents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, p := range programs {
		binary, err := os.ReadFile(p)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(p)), binary, 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// StartPacemaker starts Pacemaker on every node and waits until all are online.
func (c *Cluster) StartPacemaker(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.StartPacemaker(); err != nil {
			return err
		}
	}
	return c.WaitOnline(ctx, c.Nodes[0], c.Nodes...)
}

// StartPacemaker starts Pacemaker on a node with corosync.
func (n *Node) StartPacemaker() error {
	_, err := n.Host.Start(lab.Command{Name: "pacemaker", Argv: []string{"pacemakerd", "-f"}})
	return err
}

// WaitOnline waits until Pacemaker on a node has quorum and sees just these
// nodes online.
func (c *Cluster) WaitOnline(ctx context.Context, from *Node, online ...*Node) error {
	var names []string
	for _, n := range online {
		names = append(names, n.Name)
	}
	want := "Online: [ " + strings.Join(names, " ") + " ]"
	return lab.Until(ctx, bound, from.Name+" to see "+want, func(ctx context.Context) error {
		out, err := from.sh(ctx, "crm_mon -1")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "partition with quorum") || !strings.Contains(out, want) {
			return fmt.Errorf("crm_mon says:\n%s", out)
		}
		return nil
	})
}

// Configure sets Pacemaker up with fence_witness and a service.
func (c *Cluster) Configure(ctx context.Context, urls string) error {
	_, err := c.Nodes[0].sh(ctx, fmt.Sprintf(`set -e
crm_attribute -t crm_config -n stonith-enabled -v true
crm_attribute -t crm_config -n stonith-timeout -v 60s
crm_attribute -t crm_config -n no-quorum-policy -v stop
cibadmin -o resources -C -X '<primitive id="witness" class="stonith" type="fence_witness">
  <instance_attributes id="witness-ia">
    <nvpair id="witness-url" name="url" value="%s"/>
    <nvpair id="witness-cluster" name="cluster" value="%s"/></instance_attributes>
  <operations><op id="witness-mon" name="monitor" interval="30s" timeout="20s"/></operations></primitive>'
cibadmin -o resources -C -X '<primitive id="svc" class="ocf" provider="pacemaker" type="Dummy">
  <operations><op id="svc-mon" name="monitor" interval="10s" timeout="20s"/></operations></primitive>'`, urls, clusterName))
	return err
}

// WaitService waits until Pacemaker on a node says that the service runs on one
// of these nodes, and returns which.
func (c *Cluster) WaitService(ctx context.Context, from *Node, on ...*Node) (*Node, error) {
	var found *Node
	err := lab.Until(ctx, bound, "the service to run", func(ctx context.Context) error {
		out, err := from.sh(ctx, "crm_resource --resource svc --locate")
		if err != nil {
			return err
		}
		for _, n := range on {
			if strings.Contains(out, "is running on: "+n.Name) {
				found = n
				return nil
			}
		}
		return fmt.Errorf("crm_resource says %q", out)
	})
	return found, err
}

// sh runs a script on a node.
func (n *Node) sh(ctx context.Context, script string) (string, error) {
	return n.Host.Exec(ctx, lab.Command{Argv: []string{"sh", "-c", script}})
}
