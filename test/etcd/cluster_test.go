//go:build integration

package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"quorate/test/lab"
)

// healthy is within what time a cluster must have a leader, on a loaded machine.
const healthy = 2 * time.Minute

// server is one node of a store.
type server struct {
	name string
	host *lab.Host
	argv []string
	proc *lab.Process
}

func (s *server) endpoint() string { return "http://" + s.host.IP() + ":2379" }

// cluster is three servers, each in a host of its own, and a host for clients.
type cluster struct {
	t      *testing.T
	lab    *lab.Lab
	client *lab.Host
	nodes  []*server
}

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// witnessd builds the program under test.
func witnessd(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(root(t), "out", "lab", "bin", "witnessd")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/witnessd")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build witnessd: %v\n%s", err, out)
	}
	return binary
}

// newLab makes a laboratory that ends with the test. The logs of its processes
// stay in out/lab if the test fails.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	logs := filepath.Join(root(t), "out", "lab", "etcd", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.RemoveAll(logs); err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(t.Context(), lab.Options{LogDir: logs, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := l.Cleanup(ctx); err != nil {
			t.Error(err)
		}
		if !t.Failed() {
			_ = os.RemoveAll(logs)
		}
	})
	return l
}

// newCluster makes the hosts prefix1..3 in 10.77.0.<octet+1..3> and one for the
// clients; argv gives the command line of each.
func newCluster(t *testing.T, l *lab.Lab, prefix string, octet int, argv func(c *cluster, i int) []string) *cluster {
	t.Helper()
	c := &cluster{t: t, lab: l}
	add := func(name string, last int) *lab.Host {
		h, err := l.Host(t.Context(), name, fmt.Sprintf("10.77.0.%d", last))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		c.nodes = append(c.nodes, &server{name: name, host: add(name, octet+i)})
	}
	c.client = add(prefix+"client", octet+9)
	for i, n := range c.nodes {
		n.argv = argv(c, i)
		c.start(n)
	}
	c.waitLeader()
	return c
}

// witnesses starts three witnessd with timeouts of 300 ms. Each is started
// under the given words, if any.
func witnesses(t *testing.T, l *lab.Lab, under ...[]string) *cluster {
	t.Helper()
	binary := witnessd(t)
	return newCluster(t, l, "w", 10, func(c *cluster, i int) []string {
		n := c.nodes[i]
		var peers []string
		for _, p := range c.nodes {
			peers = append(peers, p.name+": \""+p.host.IP()+":7400\"")
		}
		dir := filepath.Join(l.DataDir(), n.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		ip := n.host.IP()
		text := fmt.Sprintf("node: %s\ndata: %s/data\npeers: {%s}\npeer: {listen: \"%s:7400\"}\netcd: {listen: \"%s:2379\"}\nhttp: {listen: \"%s:8080\"}\ntiming: {heartbeat: 300ms}\n",
			n.name, dir, strings.Join(peers, ", "), ip, ip, ip)
		config := filepath.Join(dir, "witnessd.yaml")
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var words []string
		if i < len(under) {
			words = append(words, under[i]...)
		}
		return append(words, binary, "--config", config)
	})
}

// start starts a node on the data that it has.
func (c *cluster) start(n *server) {
	c.t.Helper()
	p, err := n.host.Start(lab.Command{Name: "store", Argv: n.argv})
	if err != nil {
		c.t.Fatal(err)
	}
	n.proc = p
}

// kill ends a node with signal 9.
func (c *cluster) kill(n *server) {
	n.proc.Kill()
	<-n.proc.Done()
}

// pause stops a node with SIGSTOP for a time.
func (c *cluster) pause(n *server, d time.Duration) {
	_ = syscall.Kill(-n.proc.PID, syscall.SIGSTOP)
	c.sleep(d)
	_ = syscall.Kill(-n.proc.PID, syscall.SIGCONT)
}

func (c *cluster) isolate(n *server) {
	c.t.Helper()
	if err := c.lab.Isolate(c.t.Context(), n.host); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) heal(n *server) {
	c.t.Helper()
	if err := c.lab.Heal(c.t.Context(), n.host); err != nil {
		c.t.Error(err)
	}
}

// sleep lets the faults and the load go on for a time.
func (c *cluster) sleep(d time.Duration) {
	select {
	case <-c.t.Context().Done():
	case <-time.After(d):
	}
}

// dial makes a clientv3 client that runs in the given host.
func (c *cluster) dial(from *lab.Host, endpoints ...string) *clientv3.Client {
	c.t.Helper()
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return from.DialContext(ctx, "tcp", addr)
		})},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cli.Close() })
	return cli
}

func (c *cluster) endpoints() []string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.endpoint())
	}
	return all
}

var errNoLeader = errors.New("no leader that a majority agrees on")

// leader returns the node that a majority calls the leader.
func (c *cluster) leader(ctx context.Context) (*server, error) {
	votes, self := map[uint64]int{}, map[uint64]*server{}
	for _, n := range c.nodes {
		st, err := c.status(ctx, n)
		if err != nil {
			continue
		}
		votes[st.Leader]++
		self[st.Header.MemberId] = n
	}
	for id, count := range votes {
		if id != 0 && count > len(c.nodes)/2 && self[id] != nil {
			return self[id], nil
		}
	}
	return nil, errNoLeader
}

func (c *cluster) status(ctx context.Context, n *server) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cli := c.dial(c.client, n.endpoint())
	defer cli.Close()
	return cli.Status(ctx, n.endpoint())
}

// waitLeader waits until a majority agrees on a leader that takes writes.
func (c *cluster) waitLeader() *server {
	c.t.Helper()
	cli := c.dial(c.client, c.endpoints()...)
	defer cli.Close()
	var leader *server
	err := lab.Until(c.t.Context(), healthy, "a leader", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		var err error
		if leader, err = c.leader(ctx); err != nil {
			return err
		}
		_, err = cli.Put(ctx, "/ready", "")
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return leader
}

// followers are the nodes that do not lead.
func (c *cluster) followers(leader *server) []*server {
	var out []*server
	for _, n := range c.nodes {
		if n != leader {
			out = append(out, n)
		}
	}
	return out
}
