package pacemaker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/test/lab"
	"quorate/test/patroni"
)

// bound is generous: everything that must happen has happened within it, on a
// loaded machine too.
const bound = 120 * time.Second

// Cluster is some hosts with corosync and corosync-qdevice.
type Cluster struct {
	Nodes    []*Node
	Settings Settings

	lab *lab.Lab
	//lint:ignore U1000 the integration tests use it
	bmcs map[string]*patroni.BMC // by the names of the nodes; nil without any
}

// Node is one of its hosts.
type Node struct {
	Name string
	ID   int
	Host *lab.Host

	dir     string // its /etc/corosync and state, kept through a power loss
	logs    string // its /var/log, which outlives the laboratory
	qdevice *lab.Process
	agents  string // folder of fence agents laid over /usr/sbin, or ""
	probes  int
}

// NewCluster makes the hosts n1, n2, … and boots them. Nothing is started yet.
func NewCluster(ctx context.Context, l *lab.Lab, s Settings) (*Cluster, error) {
	if s.Algorithm == "" {
		s.Algorithm = ffsplit
	}
	if s.TLS == "" {
		s.TLS = "off"
	}
	c := &Cluster{Settings: s, lab: l}
	for i := 1; i <= s.Nodes; i++ {
		name := fmt.Sprintf("n%d", i)
		host, err := l.Host(ctx, name, fmt.Sprintf("10.77.0.%d", 20+i))
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, &Node{
			Name: name, ID: i, Host: host, agents: s.Agents,
			dir: filepath.Join(l.DataDir(), name), logs: filepath.Join(l.LogDir(), name),
		})
	}
	for i, n := range c.Nodes {
		if err := n.prepare(s.corosync(c.Nodes), c.hosts(i)); err != nil {
			return nil, err
		}
		if err := n.Boot(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// hosts is /etc/hosts of a node. Every node begins with another address of the
// device, so that their connections end on different witnesses.
func (c *Cluster) hosts(node int) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, n := range c.Nodes {
		b.WriteString(n.Host.IP() + " " + n.Name + "\n")
	}
	for i := range c.Settings.Addresses {
		b.WriteString(c.Settings.Addresses[(node+i)%len(c.Settings.Addresses)] + " " + deviceName + "\n")
	}
	return b.String()
}

// prepare lays out the node's directories, as its Debian packages do.
func (n *Node) prepare(corosync, hosts string) error {
	for _, d := range []string{
		n.dir + "/etc-corosync/qdevice/net", n.dir + "/etc-corosync/qnetd", n.dir + "/var-lib-corosync",
		n.dir + "/var-lib-pacemaker/cib", n.dir + "/var-lib-pacemaker/cores", n.dir + "/var-lib-pacemaker/pengine",
		n.dir + "/var-lib-pacemaker/blackbox", n.logs + "/corosync", n.logs + "/pacemaker",
	} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(n.dir+"/etc-corosync/corosync.conf", []byte(corosync), 0o644),
		os.WriteFile(n.dir+"/hosts", []byte(hosts), 0o644),
	)
}

// Boot switches the node's machine on: its own /run, /dev/shm, /etc/corosync and
// state. No daemon is started.
func (n *Node) Boot(ctx context.Context) error {
	agents := ""
	if n.agents != "" {
		agents = "mount -t overlay overlay -o lowerdir=" + n.agents + ":/usr/sbin /usr/sbin\n"
	}
	return n.Host.Boot(ctx, fmt.Sprintf(`cd %s
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
chown -R hacluster:haclient var-lib-pacemaker %[2]s/pacemaker
chmod 750 var-lib-pacemaker
mount --bind etc-corosync /etc/corosync
mount --bind var-lib-corosync /var/lib/corosync
mount --bind var-lib-pacemaker /var/lib/pacemaker
mount --bind %[2]s /var/log
mount --bind hosts /etc/hosts
%[3]scd /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/corosync-qnetd /run/corosync-qdevice /run/crm /run/corosync
chown hacluster:haclient /run/crm
chmod 750 /run/crm
: >%[4]s`, n.dir, n.logs, agents, healthFile))
}

// Start starts corosync, the quorum probe and corosync-qdevice.
func (n *Node) Start(ctx context.Context) error {
	if err := n.StartCorosync(ctx); err != nil {
		return err
	}
	return n.StartDevice()
}

// StartCorosync starts corosync and the quorum probe, and waits until corosync
// answers.
func (n *Node) StartCorosync(ctx context.Context) error {
	if _, err := n.Host.Start(lab.Command{Name: "corosync", Argv: []string{"corosync", "-f"}}); err != nil {
		return err
	}
	n.probes++
	_, err := n.Host.Start(lab.Command{
		Name: fmt.Sprintf("quorum-%d", n.probes),
		Argv: []string{"/usr/bin/python3", "-u", "-c", quorumProbe, fmt.Sprint(sampleEvery.Milliseconds())},
	})
	if err != nil {
		return err
	}
	return lab.Until(ctx, bound, "corosync of "+n.Name, func(ctx context.Context) error {
		_, err := n.quorumtool(ctx)
		return err
	})
}

// StartDevice starts corosync-qdevice.
func (n *Node) StartDevice() error {
	var err error
	n.qdevice, err = n.Host.Start(lab.Command{Name: "qdevice", Argv: []string{"corosync-qdevice", "-f", "-d"}})
	return err
}

//go:embed quorumprobe.py
var quorumProbe string

// Quorum is what corosync-quorumtool tells of a node.
type Quorum struct {
	Quorate       bool
	Expected      int
	Total, Needed int
	Members       []int
	Device        string // A,V,NMW and its like, of the node itself
}

// Quorum asks a node how it is.
func (n *Node) Quorum(ctx context.Context) (Quorum, error) {
	out, err := n.quorumtool(ctx)
	if err != nil {
		return Quorum{}, err
	}
	return parseQuorum(out, n.ID)
}

func (n *Node) quorumtool(ctx context.Context) (string, error) {
	out, err := n.Host.Exec(ctx, lab.Command{Argv: []string{"corosync-quorumtool", "-s", "-i"}})
	var failed *lab.ExecError
	if errors.As(err, &failed) && strings.Contains(out, "Quorate:") {
		return out, nil // its exit code says that the node is not quorate
	}
	return out, err
}

// Start boots what is off and starts every node.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return c.WaitWhole(ctx)
}

// WaitWhole waits until all nodes are in one membership, with every vote.
func (c *Cluster) WaitWhole(ctx context.Context) error {
	return lab.Until(ctx, bound, "all votes", func(ctx context.Context) error {
		for _, n := range c.Nodes {
			q, err := n.Quorum(ctx)
			if err != nil {
				return err
			}
			if !q.Quorate || len(q.Members) != len(c.Nodes) || q.Total != q.Expected || q.Device != "A,V,NMW" {
				return fmt.Errorf("%s: %+v", n.Name, q)
			}
		}
		return nil
	})
}

// Cut splits the cluster's own network into two sides; the quorum device stays
// in reach of all.
func (c *Cluster) Cut(ctx context.Context, side ...*Node) error {
	return c.lab.Split(ctx, hosts(side), hosts(c.Others(side...)))
}

func hosts(nodes []*Node) []*lab.Host {
	out := make([]*lab.Host, len(nodes))
	for i, n := range nodes {
		out[i] = n.Host
	}
	return out
}

// Heal undoes every cut of every node.
func (c *Cluster) Heal(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := c.lab.Heal(ctx, n.Host); err != nil {
			return err
		}
	}
	return nil
}

// Others are the nodes that are not on this side.
func (c *Cluster) Others(side ...*Node) []*Node {
	var others []*Node
	for _, n := range c.Nodes {
		found := false
		for _, s := range side {
			found = found || s == n
		}
		if !found {
			others = append(others, n)
		}
	}
	return others
}
