package reconcile

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
	"quorate/witness"
)

// dying is an executor whose witness dies at a chosen moment: the deed may be
// done, and nobody hears of it.
type dying struct {
	Executor
	before, after func(*witness.Action) bool // dies before or after the deed of this action
	dead          chan struct{}
}

func (d *dying) Execute(ctx context.Context, s *witness.State, a *witness.Action) witness.Finished {
	if d.before != nil && d.before(a) {
		close(d.dead)
		<-ctx.Done()
	}
	f := d.Executor.Execute(ctx, s, a)
	if d.after != nil && d.after(a) {
		close(d.dead)
		<-ctx.Done()
	}
	return f
}

func isOff(a *witness.Action) bool { return a.Kind == witness.ActionFenceOff }
func isOn(a *witness.Action) bool  { return a.Kind == witness.ActionFenceOn }

// A reboot goes to its end whoever dies on the way, and the machine is never
// switched on before its off is an entry of the log.
func TestRebootSurvivesItsExecutor(t *testing.T) {
	for name, d := range map[string]*dying{
		"before off":             {before: isOff},
		"between off and report": {after: isOff},
		"between off and on":     {before: isOn},
		"between on and report":  {after: isOn},
	} {
		for _, assigned := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", assigned"}[assigned], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { rebootWith(t, *d, assigned) })
			})
		}
	}
}

func rebootWith(t *testing.T, d dying, assigned bool) {
	c := newCluster()
	c.patroni(t, witness.FastOff)
	c.leader, c.alive = "w1", []string{"w1", "w2", "w3"}
	machine := &bmc{state: fencing.PowerOn}
	first, mortal := &node{cluster: c, name: "w1"}, "w1"
	if assigned { // the leader w1 cannot reach the BMC, w2 and w3 can
		mortal = "w2"
		c.must(t, witness.Observe{Witness: "w1", Items: []witness.Observation{{Host: "h3", Kind: witness.SignalFence, Device: "bmc", Down: true}}},
			witness.Observe{Witness: "w2", Items: []witness.Observation{{Host: "h3", Kind: witness.SignalFence, Device: "bmc"}}},
			witness.Observe{Witness: "w3", Items: []witness.Observation{{Host: "h3", Kind: witness.SignalFence, Device: "bmc"}}})
		defer run(t, first, &hands{answer: witness.Finished{Outcome: witness.Refused, Reason: "no way to the BMC"}})()
	}
	d.Executor, d.dead = fencer(machine), make(chan struct{})
	kill := run(t, &node{cluster: c, name: mortal}, &d)
	defer run(t, &node{cluster: c, name: "w3"}, fencer(machine))()
	go watchOutlet(t, c, machine)
	c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestReboot, Host: "h3", By: "anna", Reason: "hangs"}})
	<-d.dead
	kill()
	if assigned {
		c.lives("w1", "w3")
	} else {
		c.lives("w3")
		c.lead("w3")
	}
	time.Sleep(5 * time.Minute)
	for _, r := range first.State().Requests() {
		if r.Status != witness.StatusDone || r.Off == "" {
			t.Errorf("%s: the request ended as %+v", mortal, r)
		}
	}
	if got := machine.done(); got != "off on" {
		t.Errorf("the machine got %q", got)
	}
	if first.State().Host("h3").Fenced {
		t.Error("the machine is on, and still called fenced")
	}
}

// watchOutlet: at every moment at which the machine is on again, the log holds
// the proof that it was off.
func watchOutlet(t *testing.T, c *cluster, machine *bmc) {
	for range 3000 {
		if machine.done() == "off on" {
			c.mu.Lock()
			proven := false
			for _, a := range c.state.Actions() {
				proven = proven || a.Kind == witness.ActionFenceOff && a.Outcome == witness.Confirmed
			}
			c.mu.Unlock()
			if !proven {
				t.Error("the machine was switched on before its off was an entry")
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A time limit of an order bounds what its executor does.
func TestTimeLimitOfAnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		n := &node{cluster: c, name: "w1"}
		defer run(t, n, &hands{hold: make(chan struct{})})()
		c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOff, Host: "h3", By: "anna", Reason: "x", Timeout: 7 * time.Second}})
		time.Sleep(8 * time.Second)
		for _, r := range n.State().Requests() {
			if r.Status != witness.StatusFailed {
				t.Errorf("after its time the order is %s", r.Status)
			}
		}
	})
}

// A power-on that could not be begun in time is left to whoever it is given to
// next: by now somebody may have powered the host off again.
func TestLatePowerOnIsNotBegun(t *testing.T) {
	for _, kind := range []string{witness.RequestFenceOn, witness.RequestFenceOff} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster()
			c.patroni(t, witness.FastOff)
			c.must(t, witness.RequestCmd{Request: witness.Request{Kind: kind, Host: "h3", By: "anna", Reason: "x"}})
			plan := witness.Decide((&node{cluster: c, name: "w1"}).View())
			plan.Actions[0].Executor = "w2"
			c.must(t, witness.PlanCmd{Plan: *plan})
			h := &hands{answer: proven}
			n := &node{cluster: c, name: "w2", cutOff: true}
			stop := run(t, n, h)
			defer stop()
			time.Sleep(85 * time.Second)
			n.mu.Lock()
			n.cutOff = false
			n.mu.Unlock()
			time.Sleep(20 * time.Second)
			want := map[string]int{witness.RequestFenceOn: 0, witness.RequestFenceOff: 1}[kind]
			if h.count() != want {
				t.Errorf("%s was done %d times after 85 s, want %d", kind, h.count(), want)
			}
		})
	}
}

// An executor of a power-on that has fallen silent is waited for until its time
// is over: what it does late must not come after a later power-off.
func TestPowerOnIsNotHandedOverEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader, c.alive = "w1", []string{"w1"}
		c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOn, Host: "h3", By: "anna", Reason: "x"}})
		plan := witness.Decide((&node{cluster: c, name: "w1"}).View())
		plan.Actions[0].Executor = "w2"
		c.must(t, witness.PlanCmd{Plan: *plan})
		h := &hands{answer: proven}
		defer run(t, &node{cluster: c, name: "w1"}, h)()
		time.Sleep(actionMax + time.Second)
		if h.count() != 0 {
			t.Error("another witness began while the first executor had time left")
		}
		time.Sleep(20 * time.Second)
		if h.count() != 1 {
			t.Errorf("done %d times in the end", h.count())
		}
	})
}

// A power-on that the leader does itself stays with it when another one is
// elected: what it does late must not come after a later power-off.
func TestPowerOnOutlivesItsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader = "w1"
		first, second := &hands{answer: proven, hold: make(chan struct{})}, &hands{answer: proven}
		defer run(t, &node{cluster: c, name: "w1"}, first)()
		defer run(t, &node{cluster: c, name: "w2"}, second)()
		c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOn, Host: "h3", By: "anna", Reason: "x"}})
		time.Sleep(time.Second)
		if first.count() != 1 {
			t.Fatalf("the leader began %d power-ons", first.count())
		}
		c.lead("w2")
		time.Sleep(actionMax)
		if second.count() != 0 {
			t.Error("the next leader began while the first one had time left")
		}
	})
}

// limits records how long each action was given.
type limits struct{ given chan time.Duration }

func (l *limits) Execute(ctx context.Context, _ *witness.State, _ *witness.Action) witness.Finished {
	end, _ := ctx.Deadline()
	l.given <- time.Until(end)
	return proven
}

// An executor that was restarted, or that hears of a power-on late, has only
// what is left of its time: afterwards somebody else does it.
func TestPowerOnOfARestartedExecutor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOn, Host: "h3", By: "anna", Reason: "x"}})
		plan := witness.Decide((&node{cluster: c, name: "w1"}).View())
		plan.Actions[0].Executor = "w2"
		c.must(t, witness.PlanCmd{Plan: *plan})
		time.Sleep(time.Minute)
		l := &limits{make(chan time.Duration, 9)}
		defer run(t, &node{cluster: c, name: "w2"}, l)()
		if given := <-l.given; given > actionMax-time.Minute {
			t.Errorf("after a minute it was given %v, of %v in all", given, actionMax)
		}
	})
}

// An action that nobody else may take over, because what it was planned for is
// no more, ends when its executor has been silent for too long: it would keep
// everybody from the host, and be done whenever its executor comes back.
func TestActionWithoutACauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader, c.alive = "w1", []string{"w1"}
		c.must(t, witness.RequestCmd{Request: witness.Request{Kind: witness.RequestFenceOff, Host: "h3", By: "anna", Reason: "x"}})
		n := &node{cluster: c, name: "w1"}
		plan := witness.Decide(n.View())
		plan.Actions[0].Executor = "w2"
		c.must(t, witness.PlanCmd{Plan: *plan})
		cfg := *n.State().Config
		cfg.Hosts = cfg.Hosts[:2]
		cfg.Clusters = []witness.ClusterSpec{{Name: "demo", Kind: witness.KindPatroni, Members: cfg.Clusters[0].Members[:2]}}
		c.must(t, witness.Configure{Config: cfg})
		h := &hands{answer: proven}
		defer run(t, n, h)()
		time.Sleep(3 * time.Minute)
		if left := n.State().PendingActions(); len(left) > 0 || h.count() > 0 {
			t.Errorf("%d actions are pending, %d were done", len(left), h.count())
		}
		for _, r := range n.State().Requests() {
			if r.Open() {
				t.Errorf("the request is %s", r.Status)
			}
		}
	})
}
