package sim

import (
	"time"

	"quorate/witness"
)

// feed is an outlet that powers a host. A host has two, each on a PDU of its
// own, or it hangs on power that nobody switches.
type feed struct {
	on   bool
	mode bmcMode // the PDU behaves as a BMC does
}

// fed says whether any power gets to a host.
func (h *host) fed() bool {
	on := len(h.feeds) == 0
	for _, f := range h.feeds {
		on = on || f.on
	}
	return on
}

// plugIn is a person at the machine who sees to it that it has power.
func (h *host) plugIn() {
	for _, f := range h.feeds {
		f.on = true
	}
}

// turnFeed switches one outlet. The machine stops with the last one.
func (h *host) turnFeed(i int, on bool) {
	f := h.feeds[i]
	if f.on == on {
		return
	}
	f.on = on
	h.w.trace("feed %d of %s is on: %v", i+1, h.name, on)
	if !h.fed() {
		h.powerOff("PDU")
		h.hurry()
	}
}

// order gives an outlet a command, and says whether its state can be read
// afterwards.
func (h *host) order(n *node, i int, on bool) (readable bool) {
	w, f := h.w, h.feeds[i]
	mode := f.mode
	if w.net.cutPDU[n.id][h.place] {
		mode = bmcDead
	}
	turn := func(d time.Duration) { w.after(d, nil, func() { h.turnFeed(i, on) }) }
	switch mode {
	case bmcWorks:
		turn(w.between(200*time.Millisecond, 2*time.Second))
	case bmcSlow:
		turn(w.between(5*time.Second, 25*time.Second))
	case bmcVanishes:
		if w.chance(2) {
			turn(time.Second)
		}
		return false
	case bmcDead, bmcRefuses:
		return false
	}
	return true
}

// powerFeeds is the second level: both outlets at the same time. Only both of
// them, read off, are a proof.
func (h *host) powerFeeds(n *node, report func(witness.Finished)) {
	w := h.w
	readable := make([]bool, len(h.feeds))
	for i := range h.feeds {
		readable[i] = h.order(n, i, false)
	}
	w.after(3*time.Second, &n.actor, func() {
		all, any := true, false
		for i, f := range h.feeds {
			off := readable[i] && !f.on
			all, any = all && off, any || off
		}
		if all || any && w.opt.Break.BelieveOneFeed {
			report(witness.Finished{Outcome: witness.Confirmed, Grade: witness.GradeFeeds, Reason: "both outlets read back"})
			return
		}
		report(witness.Finished{Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: "an outlet is not proven off"})
	})
}

// fence is an action on a host: a power-off goes to the next level when one
// proves nothing, a power-on begins with the outlets.
func (h *host) fence(n *node, on bool, report func(witness.Finished)) {
	if len(h.feeds) == 0 {
		h.power(n, on, report)
		return
	}
	if on {
		for i := range h.feeds {
			h.order(n, i, true)
		}
		h.w.after(3*time.Second, &n.actor, func() { h.power(n, true, report) })
		return
	}
	h.power(n, false, func(f witness.Finished) {
		if f.Outcome == witness.Confirmed {
			report(f)
			return
		}
		h.powerFeeds(n, report)
	})
}

// checkPaths is what a witness finds out about the devices of the hosts; it
// reports what is new.
func (n *node) checkPaths(items []witness.Observation) []witness.Observation {
	for _, h := range n.w.hosts {
		ready := map[string]bool{"bmc-" + h.name: h.bmc != bmcDead && h.bmc != bmcRefuses && !n.w.net.cutBMC[n.id][h.place] && h.fed()}
		names := []string{"bmc-" + h.name}
		for i, f := range h.feeds {
			name := pduName(h, i)
			names = append(names, name)
			ready[name] = f.mode != bmcDead && f.mode != bmcRefuses && !n.w.net.cutPDU[n.id][h.place]
		}
		known := map[string]bool{}
		if n.st.Config.Host(h.name) != nil {
			for _, p := range n.st.Host(h.name).Paths {
				if p.Witness == n.name {
					known[p.Device] = p.Ready
				}
			}
		}
		for _, name := range names {
			if was, reported := known[name]; !reported || was != ready[name] {
				items = append(items, witness.Observation{Host: h.name, Kind: witness.SignalFence, Device: name, Down: !ready[name]})
			}
		}
	}
	return items
}

func pduName(h *host, i int) string { return "pdu-" + string(rune('a'+i)) + "-" + h.name }

func (w *world) breakPDU() {
	h := w.hostOfWriter()
	for _, f := range h.feeds {
		if w.chance(2) {
			f.mode = pick(w, bmcWorks, bmcWorks, bmcSlow, bmcDead, bmcIgnores, bmcVanishes, bmcRefuses)
		}
	}
	if len(h.feeds) > 0 && w.chance(2) { // one feed stays on whatever is done: the case that fools agents
		h.bmc = pick(w, bmcDead, bmcIgnores, bmcVanishes)
		h.feeds[1].mode = pick(w, bmcDead, bmcIgnores)
	}
	w.trace("fault: the PDUs of %s", h.name)
}

func (w *world) cutPDU() {
	n, h := w.someNode(), w.hostOfWriter()
	w.trace("fault: %s cannot reach the PDUs of %s", n.name, h.name)
	w.net.cutPDU[n.id][h.place] = true
	w.mendLater(func() { w.net.cutPDU[n.id][h.place] = false })
}

// askReboot is a person who wants a machine off and on.
func (w *world) askReboot() {
	r := witness.Request{Kind: witness.RequestReboot, Host: w.someHost().name}
	if w.chance(3) {
		r.Override = []string{"fence.holder", "fence.blast-radius", "reboot.held-off"}
	}
	w.ask(r)
}

// askAsMember is a program on a host that wants another one off, as cluster
// managers do; it may have lost the vote long ago.
func (w *world) askAsMember() {
	c := w.clusters[w.rng.IntN(len(w.clusters))]
	from, to := c.members[w.rng.IntN(len(c.members))], c.members[w.rng.IntN(len(c.members))]
	w.ask(witness.Request{
		Kind: witness.RequestFenceOff, Host: to.host.name, Requester: pick(w, from.name, from.host.name),
		Override: pick(w, nil, []string{"fence.holder", "fence.vote", "fence.blast-radius"}), Timeout: pick(w, 0, 20*time.Second),
	})
}

// approve is a second person who answers what waits, or the first one again.
func (w *world) approve() {
	l := w.leader()
	if l == nil {
		return
	}
	for id, r := range l.st.Requests() {
		if r.Status == witness.StatusApproval {
			l.propose(witness.Approve{Request: id, By: pick(w, "bert", "bert", "bert", "anna"), Reason: "simulated", Deny: w.chance(4)}, nil)
		}
	}
}

// checkPlan compares a plan that was taken with who may ask for what.
func (w *world) checkPlan(prev *witness.State, p *witness.Plan) {
	r := prev.Request(p.Request)
	if r == nil || len(p.Actions) == 0 || p.Actions[0].Replaces != "" {
		return
	}
	w.report.Orders++
	cluster, _, ok := prev.MemberOn(r.Host)
	if !ok {
		return
	}
	c := prev.Cluster(cluster)
	if r.Requester != "" && (c.HolderHost != r.Requester && c.Holder != r.Requester || c.Guard != nil) {
		w.violation("%s has %s powered off on behalf of %s, which does not hold %s", r.By, r.Host, r.Requester, c.Name)
	}
	if c.Spec.Approval == witness.ApprovalTwoPerson && r.Requester == "" && (r.Kind == witness.RequestFenceOff || r.Kind == witness.RequestReboot) {
		if len(r.Approvals) == 0 || r.Approvals[0].By == r.By {
			w.violation("%s of %s is done without a second person", r.Kind, r.Host)
		}
	}
	if act := p.Actions[0]; r.Kind == witness.RequestReboot && act.Kind == witness.ActionFenceOn {
		if off := prev.Action(r.Off); off == nil || off.Outcome != witness.Confirmed || off.Host != act.Host {
			w.violation("a reboot of %s switches it on before its off is proven", act.Host)
		}
		w.report.Reboots++
	}
}
