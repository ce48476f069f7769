package main

import (
	"bytes"
	"context"
	"flag"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/manifest"
)

// world is the real state machine behind the real API, with BMCs that do what the
// test wants.
type world struct {
	t      *testing.T
	mem    *httpapi.Memory
	server *httptest.Server
	silent atomic.Bool // the BMCs do not answer
	asleep atomic.Bool // no leader works
	offs   atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, mem: httpapi.NewMemory(httpapi.NodeInfo{
		Name: "w1", Role: "leader", Leader: "w1", Term: 3, Quorum: true,
		Members: []httpapi.NodeMember{{Name: "w1", Alive: true, Voter: true}},
	})}
	raw, err := os.ReadFile("testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, faults := manifest.Load("lab.yaml", raw, nil)
	if cfg == nil {
		t.Fatal(faults)
	}
	w.apply(witness.Bootstrap{ClusterID: 1})
	w.apply(witness.Configure{Config: *cfg, By: "anna"})
	w.server = httptest.NewServer(httpapi.New(httpapi.Options{Backend: w.mem, Drivers: map[string]bool{"redfish": true}}))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := w.mem.Changed()
			w.work()
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		w.server.Close()
	})
	return w
}

func (w *world) apply(cmd witness.Command) {
	w.t.Helper()
	if _, err := w.mem.Propose(context.Background(), cmd); err != nil {
		w.t.Errorf("apply %T: %v", cmd, err)
	}
}

// work does what the leader and the BMCs do.
func (w *world) work() {
	if w.asleep.Load() {
		return
	}
	err := w.mem.Settle(context.Background(), func(act *witness.Action) witness.Finished {
		f := witness.Finished{Action: act.ID, Executor: "w1", Outcome: witness.Confirmed, Grade: witness.GradeObserved, Reason: "the BMC says so, twice"}
		switch {
		case w.silent.Load():
			f.Outcome, f.Grade, f.Reason = witness.Unknown, witness.GradeUnknown, "the BMC does not answer"
		case act.Kind == witness.ActionFenceOn:
			f.Grade = ""
		default:
			w.offs.Add(1)
		}
		return f
	})
	if err != nil {
		w.t.Error(err)
	}
}

// agent calls the agent as Pacemaker does and returns its exit code, its output
// and its errors.
func (w *world) agent(input string) (int, string, string) {
	w.t.Helper()
	return call(w.t, input+"\nurl="+w.server.URL)
}

func call(t *testing.T, input string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), nil, strings.NewReader(input), &out, &errs)
	return code, out.String(), errs.String()
}

func TestActions(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, in  string
		code      int
		out, errs string
	}{
		{name: "list", in: "action=list", out: "pg1,db1\npg2,db2\ndb3,\n"},
		{name: "list of a cluster", in: "action=list\ncluster=demo", out: "pg1,db1\npg2,db2\n"},
		{name: "list-status", in: "action=list-status\ncluster=demo", out: "pg1,db1,unknown\npg2,db2,unknown\n"},
		{name: "monitor", in: "action=monitor\ncluster=demo"},
		{name: "monitor of no cluster of ours", in: "action=monitor\ncluster=other", code: 1, errs: `know no cluster "other"`},
		{name: "validate-all", in: "action=validate-all\nnodename=node1\nport=node1"},
		{name: "status", in: "action=status\nplug=pg2"},
		{name: "unknown node", in: "action=off\nplug=pg9", code: 1, errs: `know no node "pg9", only: pg1, pg2, db3`},
		{name: "a node of nobody's cluster", in: "action=off\nplug=db3\ncluster=demo", code: 1, errs: `know no node "db3" in cluster demo`},
		{name: "off", in: "action=off\nnodename=pg2\nport=pg2", out: "db2: "},
		{name: "status of what is off", in: "action=status\nplug=pg2", code: exitOff},
		{name: "off again", in: "action=off\nplug=db2", out: "db2: "},
		{name: "list-status of what is off", in: "action=list-status\ncluster=demo", out: "pg1,db1,unknown\npg2,db2,off\n"},
		{name: "on", in: "action=on\nplug=pg2", out: "db2: "},
		{name: "reboot", in: "plug=pg2", out: "db2: "},
		{name: "a node without a device", in: "action=off\nplug=db3", code: 1, errs: "refused by rule fence.device"},
	} {
		code, out, errs := w.agent(c.in)
		if code != c.code || !strings.HasPrefix(out, c.out) || !strings.Contains(errs, c.errs) || c.errs == "" && errs != "" {
			t.Errorf("%s: code %d, out %q, errors %q", c.name, code, out, errs)
		}
	}
}

func TestUnprovenIsFailure(t *testing.T) {
	w := newWorld(t)
	w.silent.Store(true)
	code, _, errs := w.agent("action=off\nplug=pg2")
	if code != exitFail || !strings.Contains(errs, "not proven") {
		t.Errorf("code %d, errors %q", code, errs)
	}
	if code, _, _ := w.agent("action=status\nplug=pg2"); code != exitOK {
		t.Errorf("status: %d", code)
	}
	// The device answers again: the next attempt is one of its own.
	w.silent.Store(false)
	if code, _, errs := w.agent("action=off\nplug=pg2"); code != exitOK {
		t.Errorf("code %d, errors %q", code, errs)
	}
}

// A fencer that loses its agent in mid-operation calls it again.
func TestKilledAgentIsFollowedByAnother(t *testing.T) {
	w := newWorld(t)
	w.asleep.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	in := "action=off\nplug=pg2\nurl=" + w.server.URL
	var out, errs bytes.Buffer
	go func() { ended <- run(ctx, nil, strings.NewReader(in), &out, &errs) }()
	for w.mem.State().Request(w.mem.State().Index) == nil {
		select {
		case <-w.mem.Changed():
		case <-time.After(time.Minute):
			t.Fatal("nothing was ordered")
		}
	}
	cancel()
	if code := <-ended; code != exitFail {
		t.Errorf("the first agent ended with %d", code)
	}
	w.asleep.Store(false)
	code, _, errs2 := w.agent("action=off\nplug=pg2")
	if code != exitOK {
		t.Errorf("code %d: %s", code, errs2)
	}
	if n := w.offs.Load(); n != 1 {
		t.Errorf("powered off %d times", n)
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMetadata(t *testing.T) {
	code, out, errs := call(t, "action=metadata")
	if code != exitOK || errs != "" {
		t.Fatal(code, errs)
	}
	if *update {
		if err := os.WriteFile("testdata/metadata.xml", []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metadata.xml")
	if err != nil || out != string(want) {
		t.Errorf("the metadata changed: Pacemaker's users see that (%v)\n%s", err, out)
	}
	if code, out, _ := call(t, "action=manpage"); code != exitOK || !strings.Contains(out, "Example:") {
		t.Errorf("manpage: %d, %q", code, out)
	}
}

// An incident is fenced once, however often the fencer asks; the next one again.
func TestOneFenceForEachIncident(t *testing.T) {
	w := newWorld(t)
	ask := func(action string, want int64) {
		t.Helper()
		if code, _, errs := w.agent("action=" + action + "\nplug=pg2"); code != exitOK {
			t.Fatalf("%s: code %d: %s", action, code, errs)
		}
		if n := w.offs.Load(); n != want {
			t.Errorf("after %s: powered off %d times, want %d", action, n, want)
		}
	}
	ask("off", 1)
	ask("off", 1) // proven, and not seen on since
	ask("on", 1)
	ask("off", 2)
	ask("on", 2)
	ask("reboot", 3) // the clock of this laboratory is far from ours: an old order never counts
	ask("reboot", 4)
}

func TestRepeatedRebootStands(t *testing.T) {
	h := &httpapi.HostView{}
	at := time.UnixMilli(1_000_000)
	a := agent{options: options{action: "reboot"}, now: func() time.Time { return at.Add(3 * time.Second) }}
	done := &witness.Request{Status: witness.StatusDone, Wall: at.UnixMilli()}
	if !a.holds(done, h, "off") || !a.holds(done, h, "on") {
		t.Error("the fencer's second call would reset the machine again")
	}
	a.now = func() time.Time { return at.Add(time.Minute) }
	if a.holds(done, h, "off") {
		t.Error("an old reset stands for a new one")
	}
	done.Status = witness.StatusFailed
	a.now = func() time.Time { return at }
	if a.holds(done, h, "off") {
		t.Error("a failed order stands for a new one")
	}
}

// An order that nobody waits for any more, since the vote was being decided for
// minutes, would hit another situation than the one that it was meant for.
func TestOrdersAreGivenUp(t *testing.T) {
	w := newWorld(t)
	if code, _, errs := w.agent("action=reboot\nport=pg2"); code != 0 {
		t.Fatal(errs)
	}
	for _, r := range w.mem.State().Requests() {
		if r.Timeout <= 0 || r.Timeout > 10*time.Minute {
			t.Errorf("%s is given up after %v", r.Kind, r.Timeout)
		}
	}
}
