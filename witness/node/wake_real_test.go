package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of this file kill and stop real processes, one per witness.

// crew is a cluster of child processes with their logs on disk.
type crew struct {
	t     *testing.T
	dir   string
	peers map[string]string
	live  map[string]*crewman
}

type crewman struct {
	*child
	in io.Writer
}

func newCrew(t *testing.T, names ...string) *crew {
	c := &crew{t: t, dir: t.TempDir(), peers: map[string]string{}, live: map[string]*crewman{}}
	for _, n := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.peers[n] = ln.Addr().String()
		defer ln.Close() // the child opens it; until then it is nobody else's
	}
	return c
}

func (c *crew) start(name string) {
	c.t.Helper()
	arg, err := json.Marshal(crewOrders{Name: name, Dir: c.dir, Peers: c.peers})
	if err != nil {
		c.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = w.Close() })
	c.live[name] = &crewman{startChild(c.t, "TestChildCrewman", "crew "+string(arg), r), w}
	_ = r.Close()
	c.live[name].line(c.t, "node is open")
}

// tell sends an order and waits for the answer.
func (c *crew) tell(name, order string) string {
	c.t.Helper()
	c.order(name, order)
	return c.live[name].line(c.t, order+":")
}

func (c *crew) order(name, order string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.live[name].in, order); err != nil {
		c.t.Fatal(err)
	}
}

// leader asks the witness called by who leads.
func (c *crew) leader() string {
	c.t.Helper()
	for name := range c.live {
		if lead := c.tell(name, "leader"); lead != "" {
			return lead
		}
	}
	return ""
}

// replaced breaks the leader and returns how long it took until a survivor had a
// write confirmed.
func (c *crew) replaced(fault func(leader string)) time.Duration {
	c.t.Helper()
	lead := c.leader()
	began := time.Now()
	fault(lead)
	var first time.Time
	for name := range c.live {
		if name != lead {
			c.order(name, "write")
		}
	}
	for name := range c.live {
		if name == lead {
			continue
		}
		var ns int64
		if _, err := fmt.Sscan(c.live[name].line(c.t, "write:"), &ns); err != nil {
			c.t.Fatal(err)
		}
		if at := time.Unix(0, ns); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first.Sub(began)
}

type crewOrders struct {
	Name  string
	Dir   string
	Peers map[string]string
}

// TestChildCrewman is one witness; it does what it is told on its standard input.
func TestChildCrewman(t *testing.T) {
	arg, ok := strings.CutPrefix(os.Getenv(childEnv), "crew ")
	if !ok {
		t.Skip("runs as a child of another test")
	}
	var o crewOrders
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		t.Fatal(err)
	}
	r := newReal(t, nil)
	r.dir, r.peers = o.Dir, o.Peers
	n := r.start(o.Name)
	fmt.Println("node is open")
	orders := os.NewFile(3, "orders")
	for {
		var order string
		if _, err := fmt.Fscanln(orders, &order); err != nil {
			return // the parent is gone
		}
		fmt.Printf("%s: %s\n", order, n.obey(t.Context(), order))
	}
}

func (r *running) obey(ctx context.Context, order string) string {
	switch order {
	case "leader":
		if r.Barrier(ctx) != nil {
			return ""
		}
		name, _ := r.Leader()
		return name
	case "term":
		return fmt.Sprint(r.Term())
	case "write":
		for {
			if _, err := r.Propose(ctx, putCmd("/k", "v", 0)); err == nil {
				return fmt.Sprint(time.Now().UnixNano())
			}
		}
	}
	return "unknown order"
}

func settledCrew(t *testing.T) *crew {
	c := newCrew(t, "a", "b", "c")
	for name := range c.peers {
		c.start(name)
	}
	until(t, "there is a leader", func() bool { return c.leader() != "" })
	return c
}

func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("%s: n=%d p50=%s p90=%s max=%s, load %.14s; all %v", what, len(took),
		took[len(took)/2].Round(time.Millisecond), took[len(took)*9/10].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), load, took)
}

// kills is how often the tests below break a leader; a measurement uses 30.
func kills(t *testing.T) int {
	n := 3
	if v := os.Getenv("QUORATE_KILLS"); v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// A killed leader is replaced, and its process comes back from its disk.
func TestKilledLeaderIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for seconds")
	}
	c := settledCrew(t)
	var took []time.Duration
	for range kills(t) {
		var dead string
		took = append(took, c.replaced(func(name string) {
			dead = name
			c.live[name].signal(t, syscall.SIGKILL)
		}))
		_ = c.live[dead].cmd.Wait()
		c.start(dead)
		c.tell(dead, "write") // it follows again
		time.Sleep(time.Second)
	}
	report(t, "leader killed to first write", took)
}

// A stopped leader refuses nothing: its silence has to be noticed.
func TestStoppedLeaderIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("stops processes for seconds")
	}
	c := settledCrew(t)
	var took []time.Duration
	for range kills(t) {
		var stopped string
		took = append(took, c.replaced(func(name string) {
			stopped = name
			c.live[name].signal(t, syscall.SIGSTOP)
		}))
		c.live[stopped].signal(t, syscall.SIGCONT)
		c.tell(stopped, "write")
		time.Sleep(time.Second)
	}
	report(t, "leader stopped to first write", took)
}

// QUORATE_SOAK=60s keeps a cluster of processes under processor load for that
// long: nothing may change leaders.
func TestSoakNoElectionUnderLoad(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("QUORATE_SOAK"))
	if err != nil {
		t.Skip("a soak target: set QUORATE_SOAK to a duration")
	}
	c := settledCrew(t)
	time.Sleep(2 * time.Second)
	before := c.tell("a", "term")
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for range 4 { // burners share the processors with the witnesses
		go func() {
			for ctx.Err() == nil {
				_ = strings.Repeat("x", 1<<16)
			}
		}()
	}
	<-ctx.Done()
	load, _ := os.ReadFile("/proc/loadavg")
	c.tell("a", "write")
	if after := c.tell("a", "term"); after != before {
		t.Errorf("term %s became %s in %s, load %s", before, after, d, load)
	} else {
		t.Logf("term %s for %s, load %s", after, d, load)
	}
}
