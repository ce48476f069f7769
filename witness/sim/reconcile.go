package sim

import (
	"time"

	"quorate/witness"
)

// reconciler is the loop of a witness that decides and executes.
type reconciler struct {
	waking   bool
	planning bool
	running  map[string]bool // actions in the hands of this process
	alive    []string
}

func (n *node) wakeReconcile(d time.Duration) {
	if n.waking {
		return
	}
	n.waking = true
	n.w.after(d, &n.actor, func() {
		n.waking = false
		n.reconcile()
	})
}

func (n *node) reconcile() {
	if n.ready {
		n.watchRenewals()
		n.decide()
	}
	for _, a := range n.st.PendingActions() {
		if (a.Executor == n.name || a.Executor == "" && n.ready) && !n.running[a.ID] && !n.w.opt.Break.NeverFence {
			n.execute(a)
		}
	}
	if witness.Busy(n.st) && (n.ready || len(n.running) > 0) {
		n.wakeReconcile(n.w.between(500*time.Millisecond, 1500*time.Millisecond))
	}
}

func (n *node) view() witness.View {
	v := witness.View{State: n.st, Now: n.clock(), Alive: append(n.alive[:0], n.name)}
	for _, m := range n.w.nodes {
		v.Voters = append(v.Voters, m.name)
		if m != n && n.w.hears(n, m) {
			v.Alive = append(v.Alive, m.name)
		}
	}
	n.alive = v.Alive
	return v
}

func (n *node) decide() {
	if n.planning {
		return
	}
	plan := witness.Decide(n.view())
	if plan == nil {
		return
	}
	n.planning = n.propose(witness.PlanCmd{Plan: *plan}, func(witness.Result) {
		n.planning = false
		n.wakeReconcile(n.w.delay())
	})
}

// watchRenewals reports holders whose renewal is late.
func (n *node) watchRenewals() {
	var items []witness.Observation
	for _, c := range n.w.clusters {
		st := n.st.Cluster(c.name)
		if st == nil || st.Holder == "" || st.Guard != nil || st.Spec.Fast == "" || st.Spec.Fast == witness.FastOff {
			continue
		}
		t := n.timers[st.HolderLease]
		if t == nil {
			continue
		}
		if late := n.w.now-t.renewed > loopWait+loopWait/2; late != (st.Overdue != nil) {
			items = append(items, witness.Observation{Cluster: c.name, Kind: witness.SignalRenewal, Down: late})
		}
	}
	if len(items) > 0 {
		n.propose(witness.Observe{Witness: n.name, Items: items}, nil)
	}
}

// execute carries out an action of which this witness is the executor.
func (n *node) execute(a *witness.Action) {
	if !n.entitled(a) {
		return
	}
	n.w.checkEntitled(n, a)
	n.running[a.ID] = true
	h := n.w.hostNamed(a.Host)
	n.w.after(n.w.delay(), &n.actor, func() {
		if now := n.st.Action(a.ID); now == nil || now.Outcome != witness.Pending {
			delete(n.running, a.ID)
			return
		}
		if why := witness.Moot(n.st, a); why != "" {
			n.finish(witness.Finished{Action: a.ID, Executor: n.name, Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: why})
			return
		}
		n.w.trace("%s executes %s of %s, BMC %s", n.name, a.Kind, a.Host, h.bmc)
		h.fence(n, a.Kind == witness.ActionFenceOn, func(f witness.Finished) {
			f.Action, f.Executor = a.ID, n.name
			n.finish(f)
		})
	})
}

// entitled confirms that this witness may touch a device now.
func (n *node) entitled(a *witness.Action) bool {
	switch {
	case n.w.opt.Break.ExecuteBlindly:
		return true
	case a.Executor == "":
		return n.ready && n.hasQuorum()
	}
	l := n.leaderOf()
	return l != nil && l.ready && l.hasQuorum() && n.applied == l.applied
}

// finish reports an outcome until the action is pending no more.
func (n *node) finish(f witness.Finished) {
	now := n.st.Action(f.Action)
	if now == nil || now.Outcome != witness.Pending {
		delete(n.running, f.Action)
		return
	}
	n.forward(f)
	n.w.after(n.w.between(500*time.Millisecond, 2*time.Second), &n.actor, func() { n.finish(f) })
}

// forward proposes a command through whoever leads, once.
func (n *node) forward(cmd witness.Command) {
	if n.leads {
		n.propose(cmd, nil)
		return
	}
	if n.known < 0 {
		return
	}
	l := n.w.nodes[n.known]
	n.w.send(n.place(), l.place(), &l.actor, func() { l.propose(cmd, nil) })
}

// prober watches the hosts from one witness.
type prober struct {
	reach, session [maxPlaces]sign // by place of the host
}

type sign struct {
	down bool
	said time.Duration // when it was last asserted
}

const probeEvery = 4 * time.Second

func (n *node) probeLater() {
	n.w.after(n.w.between(probeEvery-time.Second, probeEvery), &n.actor, n.probe)
}

func (n *node) probe() {
	var items []witness.Observation
	for _, h := range n.w.hosts {
		if h.cluster.fast == witness.FastOff {
			continue
		}
		look := func(s *sign, kind string, down bool) {
			if down != s.down || down && n.w.now-s.said >= witness.SignalRefresh {
				s.down, s.said = down, n.w.now
				items = append(items, witness.Observation{Host: h.name, Kind: kind, Down: down})
			}
		}
		look(&n.reach[h.place], witness.SignalReach, !h.on || !n.w.net.both(n.place(), h.place))
		look(&n.session[h.place], witness.SignalSession, !h.on || h.member.down || n.w.net.cut[h.place][n.place()])
	}
	if items = n.checkPaths(items); len(items) > 0 {
		n.forward(witness.Observe{Witness: n.name, Items: items})
	}
	n.probeLater()
}
