package witness

import (
	"encoding/json"
	"fmt"
	"time"

	"quorate/witness/kv"
)

// plan takes a decision into the state, unless Check refuses it.
func (a *applier) plan(p Plan) {
	p.ID = a.e.Index
	if err := Check(a.s, &p); err != nil {
		a.res.Err = err
		return
	}
	a.res.ID = p.ID
	switch {
	case p.Refuse:
		a.endRequest(p.Request, StatusRefused, p.Rule, p.Why)
	case p.Await:
		a.awaitApproval(p.Request)
	case p.Join != "":
		a.editRequest(p.Request, func(r *Request) { r.Status, r.Action = StatusRunning, p.Join })
	case len(p.Actions) == 0:
		a.note(&p)
	}
	for i := range p.Actions {
		a.planItem(&p, i)
	}
}

// note records a decision to do nothing: a hold, or what observe mode saw.
func (a *applier) note(p *Plan) {
	c := a.copyOf(p.Cluster)
	kind := "held"
	if c.Guard != nil {
		g := *c.Guard
		g.Held = p.Rule
		if p.Rule == settleRule {
			g.RetryAt = a.s.Now + settleTime(c.Settings)
		}
		c.Guard = &g
		a.phase(c, "held", p.Why)
		a.editRun(c, func(r *Run) { r.State = RunHeld })
	} else {
		kind = "would-fence"
		c.Would = a.e.Index
	}
	a.event(Event{Kind: kind, Level: LevelAlert, Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Rule: p.Rule, Text: p.Why})
	a.put(c, true)
}

func (a *applier) planItem(p *Plan, i int) {
	item := &p.Actions[i]
	switch item.Kind {
	case ActionFenceOff, ActionFenceOn:
		a.planFence(p, item, fmt.Sprintf("%010d.%d", a.e.Index, i))
	case ActionRelease:
		c := a.copyOf(p.Cluster)
		a.phase(c, "unproven-release", p.Why)
		a.put(c, true)
		a.release(p.Cluster, Release{Grade: GradeSelf, Reason: p.Why})
	case ActionSwitchover:
		a.planSwitchover(p, item)
	}
}

func (a *applier) planFence(p *Plan, item *PlanItem, id string) {
	if old := a.s.Action(item.Replaces); old != nil && old.Outcome == Pending {
		a.followAction(old.ID, id) // before it is closed, or the requests would end with it
		a.closeAction(old, Finished{Action: old.ID, Outcome: Unknown, Grade: GradeUnknown, Reason: p.Why})
	}
	act := &Action{
		ID: id, Index: a.e.Index, Kind: item.Kind, Host: item.Host, Cluster: p.Cluster, Epoch: p.Epoch, Executor: item.Executor,
		Request: p.Request, Outcome: Pending, Planned: a.s.Now, Rule: p.Rule, Why: p.Why,
	}
	if r := a.s.Request(p.Request); r != nil && r.Timeout > 0 {
		act.Limit = max(r.At+r.Timeout-a.s.Now, time.Second)
	}
	a.countOff(item)
	a.s.actions = a.s.actions.Set(id, act)
	a.s.waiting = a.s.waiting.Set(id, struct{}{})
	a.pruneActions()
	if p.Request != 0 {
		a.editRequest(p.Request, func(r *Request) { r.Status, r.Action = StatusRunning, id })
	}
	if p.Cluster != "" {
		c := a.s.Cluster(p.Cluster)
		if item.Condemn && c.Guard == nil {
			a.startGuard(c, "fast")
		}
		c = a.copyOf(p.Cluster) // as startGuard left it
		if c.Guard != nil && c.Guard.Host == item.Host && item.Kind == ActionFenceOff {
			g := *c.Guard
			g.Action, g.Held = id, ""
			c.Guard = &g
		}
		a.phase(c, "decided", p.Why)
		a.editRun(c, func(r *Run) { r.State = RunRunning })
		a.put(c, true)
	}
	a.event(Event{Kind: "planned-" + item.Kind, Level: LevelWarn, Cluster: p.Cluster, Host: item.Host, Epoch: p.Epoch, Rule: p.Rule, Request: p.Request, Action: id, Text: p.Why})
}

// planSwitchover asks Patroni for a switchover by the key that it obeys.
func (a *applier) planSwitchover(p *Plan, item *PlanItem) {
	c := a.copyOf(p.Cluster)
	req := a.s.Request(p.Request)
	a.startRun(c, Run{Kind: RunSwitchover, From: c.Holder, To: item.To, By: req.By, Reason: req.Reason, Request: p.Request})
	a.phase(c, "decided", p.Why)
	a.event(Event{Kind: "planned-switchover", Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Rule: p.Rule, Text: p.Why})
	a.put(c, true)
	a.editRequest(p.Request, func(r *Request) { r.Status = StatusRunning })
	value, err := json.Marshal(map[string]string{"leader": item.Member, "member": item.To})
	if err != nil {
		panic(fmt.Sprintf("witness: encode failover key: %v", err))
	}
	key := []byte(c.Spec.Prefix() + "failover")
	next, _, evs, err := a.s.KV.Txn(kv.PutTxn(kv.PutRequest{Key: key, Value: value}))
	if err != nil {
		panic(fmt.Sprintf("witness: put %s: %v", key, err))
	}
	a.commit(next, evs, Release{Grade: GradeClean})
}

// finished takes the result of an action into the state. A confirmed power-off
// unlocks, in this same entry, everything that waited for it.
func (a *applier) finished(f Finished) {
	act := a.s.Action(f.Action)
	if act == nil || act.Outcome != Pending {
		a.res.Err = errorf(CodeConflict, "action %s is not pending any more", f.Action)
		return
	}
	if f.Outcome == Confirmed && act.Kind == ActionFenceOff {
		switch why := a.s.notProof(act.Host, f.Grade); {
		case why != "":
			f.Outcome, f.Reason = Unknown, why+": "+f.Reason
		case a.seenSince(act):
			f.Outcome, f.Reason = Unknown, fmt.Sprintf("%s has reported with a new lease since this was planned, so the evidence may be older than its present life: %s", act.Host, f.Reason)
		}
	}
	a.closeAction(act, f)
}

// seenSince says whether the member on the host of a power-off has taken a new
// lease since the power-off was planned. The evidence may then be of the time
// before: somebody pressed the button while the report was on its way. While
// the power-off belongs to a guard only a renewed leader key would count, and
// that is refused.
func (a *applier) seenSince(act *Action) bool {
	ref, ok := a.s.members[act.Host]
	if !ok {
		return false
	}
	c := a.s.Cluster(ref.cluster)
	if c.Quorum != nil {
		n := c.Quorum.Node(c.Spec.Member(ref.member).Node)
		return n != nil && n.Session != nil && n.Session.Index > act.Index
	}
	if c.Guard != nil && c.Guard.Action == act.ID {
		return false
	}
	since := func(lease int64) bool {
		born, ok := a.s.born.Get(lease)
		return ok && born > act.Index
	}
	if m := c.MemberNamed(ref.member); m != nil && since(m.Lease) {
		return true
	}
	return c.Holder == ref.member && since(c.HolderLease)
}

// followAction lets the requests that wait for one action wait for another.
func (a *applier) followAction(from, to string) {
	for id := range a.s.open.All() {
		if a.s.Request(id).Action == from {
			a.editRequest(id, func(r *Request) { r.Action = to })
		}
	}
}

func (a *applier) closeAction(old *Action, f Finished) {
	act := *old
	act.Outcome, act.Grade, act.Reason, act.Evidence = f.Outcome, f.Grade, f.Reason, f.Evidence
	act.Ended, act.By = a.s.Now, f.Executor
	a.s.actions = a.s.actions.Set(act.ID, &act)
	a.s.waiting = a.s.waiting.Delete(act.ID)
	level := LevelInfo
	if act.Outcome != Confirmed {
		level = LevelAlert
	}
	a.event(Event{
		Kind: act.Kind + "-" + string(act.Outcome), Level: level, Cluster: act.Cluster, Host: act.Host, Epoch: act.Epoch,
		Request: act.Request, Action: act.ID,
		Text: fmt.Sprintf("%s of %s: %s; %s", act.Kind, act.Host, act.Outcome, act.Reason),
	})
	for id := range a.s.open.All() {
		if r := a.s.Request(id); r.Action == act.ID {
			a.actionOver(r, &act)
		}
	}
	switch {
	case act.Kind == ActionFenceOff && act.Outcome == Confirmed:
		a.tookTime(&act)
		a.provenOff(act.Host, Release{Grade: act.Grade, Reason: act.Reason, By: act.By})
	case act.Kind == ActionFenceOff:
		a.unproven(&act)
		a.quorumUnproven(&act)
	case act.Outcome == Confirmed:
		a.poweredOn(act.Host)
	}
}

// provenOff marks a host as fenced and releases the cluster whose holder ran
// on it.
func (a *applier) provenOff(host string, how Release) {
	h := *a.s.Host(host)
	h.Fenced, h.FencedAt, h.ProofIdx, h.Grade = true, a.s.Now, a.e.Index, how.Grade
	a.s.hosts = a.s.hosts.Set(host, &h)
	a.s.DNSIndex = a.e.Index
	ref, ok := a.s.members[host]
	if !ok {
		return
	}
	if a.s.Cluster(ref.cluster).Quorum != nil {
		a.quorumOff(ref.cluster, ref.member)
		return
	}
	c := a.copyOf(ref.cluster)
	if c.Holder != ref.member {
		return
	}
	if c.Guard == nil && c.Spec.Guarded() { // an operator overrode the live lease
		a.startGuard(c, "operator")
		c = a.copyOf(ref.cluster)
	}
	a.phase(c, "proven-off", fmt.Sprintf("%s is off: %s; %s", host, how.Grade, how.Reason))
	a.put(c, true)
	if c.Spec.Guarded() {
		a.release(c.Name, how)
	}
}

// unproven sends a guard into its next attempt, later each time.
func (a *applier) unproven(act *Action) {
	c := a.s.Cluster(act.Cluster)
	if c == nil || c.Guard == nil || c.Guard.Action != act.ID {
		return
	}
	c = a.copyOf(act.Cluster)
	g := *c.Guard
	g.Action, g.LastWhy = "", act.Reason
	g.Attempts++
	g.RetryAt = a.s.Now + fenceBackoff(g.Attempts)
	c.Guard = &g
	a.phase(c, "unproven", fmt.Sprintf("attempt %d to power %s off proved nothing: %s", g.Attempts, act.Host, act.Reason))
	a.put(c, true)
}

func (a *applier) poweredOn(host string) {
	h := *a.s.Host(host)
	if !h.Fenced {
		return
	}
	h.Fenced = false
	a.s.hosts = a.s.hosts.Set(host, &h)
	a.s.DNSIndex = a.e.Index
}

// pruneActions forgets the oldest finished action when there are too many.
func (a *applier) pruneActions() {
	if a.s.actions.Len() <= keepActions {
		return
	}
	for id, act := range a.s.actions.All() {
		if act.Outcome != Pending {
			a.s.actions = a.s.actions.Delete(id)
			return
		}
	}
}
