package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of this file stop real processes: in a bubble nobody can be paused.

const childEnv = "QUORATE_NODE_TEST_CHILD"

// child runs one test of this binary in a process of its own.
type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startChild(t *testing.T, test, arg string, files ...*os.File) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+arg)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &child{cmd: cmd, out: bufio.NewScanner(pipe)}
}

// line waits for a line of the child that begins with prefix.
func (c *child) line(t *testing.T, prefix string) string {
	t.Helper()
	var said []string
	for c.out.Scan() {
		said = append(said, c.out.Text())
		if rest, ok := strings.CutPrefix(c.out.Text(), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("child ended without saying %q: %s", prefix, strings.Join(said, "\n"))
	return ""
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// A whole cluster that is frozen for longer than a TTL, as when its host is
// suspended, has to give the lease its full time again: its renewals were
// frozen, too. With one node no election gets in between, and only the watch
// of the lease loop over itself saves the lease.
func TestFrozenClusterExpiresNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("pauses for seconds")
	}
	for _, nodes := range []string{"a", "a b c"} {
		c := startChild(t, "TestChildFrozenCluster", "cluster "+nodes)
		c.line(t, "lease is granted")
		c.signal(t, syscall.SIGSTOP)
		time.Sleep(5 * time.Second) // longer than the TTL of 3 s; not a bound on anything
		c.signal(t, syscall.SIGCONT)
		var ms int
		if _, err := fmt.Sscan(c.line(t, "lease ended after ms:"), &ms); err != nil {
			t.Fatal(err)
		}
		if ms < 2900 { // the child sees its own resumption up to one look late
			t.Errorf("nodes %s: lease of 3 s ended %d ms after the cluster was resumed", nodes, ms)
		}
	}
}

// TestChildFrozenCluster is the process that is frozen.
func TestChildFrozenCluster(t *testing.T) {
	names, ok := strings.CutPrefix(os.Getenv(childEnv), "cluster ")
	if !ok {
		t.Skip("runs as a child of another test")
	}
	r := newReal(t, nil, strings.Fields(names)...)
	grant(t, r.leader().Node, 1, 3)
	if err := r.live["a"].Barrier(t.Context()); err != nil { // or it may not show the lease yet
		t.Fatal(err)
	}
	if ttl, err := r.live["a"].KeepAlive(t.Context(), 1); ttl != 3 || err != nil { // so that it has a deadline
		t.Fatal(ttl, err)
	}
	last, resumed := time.Now(), time.Time{}
	fmt.Println("lease is granted") // the pause may begin here
	for {
		time.Sleep(5 * time.Millisecond)
		now := time.Now()
		if resumed.IsZero() && now.Sub(last) > 4*time.Second {
			resumed = now
		}
		last = now
		if _, ok := r.live["a"].State().KV.Lease(1); !ok {
			if resumed.IsZero() {
				t.Fatal("the lease ended before the pause was over")
			}
			fmt.Println("lease ended after ms:", now.Sub(resumed).Milliseconds())
			return
		}
	}
}

// A leader that is stopped and comes back must not end a lease that was renewed
// elsewhere, nor answer a renewal from its old life.
func TestPausedLeaderEndsNoLease(t *testing.T) {
	if testing.Short() {
		t.Skip("pauses for seconds")
	}
	r := newReal(t, nil)
	for _, n := range []string{"a", "b", "p"} {
		r.listen(n)
		r.peers[n] = r.lns[n].Addr().String()
	}
	file, err := r.lns["p"].(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.lns["p"].Close()
	arg, err := json.Marshal(r.peers)
	if err != nil {
		t.Fatal(err)
	}
	c := startChild(t, "TestChildPausedLeader", string(arg), file)
	r.start("a")
	r.start("b")
	c.line(t, "node is open")
	for _, pause := range []time.Duration{300 * time.Millisecond, time.Second, 6 * time.Second} {
		until(t, "the child leads", func() bool {
			_ = r.live["a"].TransferLeadership(t.Context(), "p")
			name, _ := r.live["a"].Leader()
			return name == "p"
		})
		grant(t, r.live["b"].Node, 1, 3)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			renewUntil(t, r.live["b"].Node, stop)
		}()
		c.signal(t, syscall.SIGSTOP)
		time.Sleep(pause) // the length is what is varied
		c.signal(t, syscall.SIGCONT)
		time.Sleep(3500 * time.Millisecond) // an expiry from its old life would show within a TTL
		close(stop)
		<-done
	}
}

// renewUntil keeps lease 1 alive and reports if it is ever gone.
func renewUntil(t *testing.T, n *Node, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		ttl, err := n.KeepAlive(ctx, 1)
		cancel()
		if err == nil && ttl == 0 {
			t.Error("the lease is gone although it was renewed all the time")
			return
		}
	}
}

// TestChildPausedLeader is the process that is paused.
func TestChildPausedLeader(t *testing.T) {
	arg := os.Getenv(childEnv)
	if !strings.HasPrefix(arg, "{") {
		t.Skip("runs as a child of another test")
	}
	r := newReal(t, nil)
	if err := json.Unmarshal([]byte(arg), &r.peers); err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(os.NewFile(3, "peer port"))
	if err != nil {
		t.Fatal(err)
	}
	r.lns["p"] = ln
	p := r.start("p")
	fmt.Println("node is open")
	<-p.done // until the parent kills this process
}
