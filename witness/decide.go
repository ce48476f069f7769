package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// View is what the leader decides from: the agreed state, the cluster time at
// which it looks, and which witnesses there are.
type View struct {
	State  *State
	Now    Time
	Voters []string // all voting witnesses
	Alive  []string // those that the leader has heard from lately, itself first
}

// Verdict is the leader's judgement of one cluster or request: the plan that
// follows, if any, and every rule that led to it or kept it away.
type Verdict struct {
	Subject  string    `json:"subject"`
	Sentence string    `json:"sentence"` // the outcome in one sentence
	Decisive string    `json:"decisive"` // the rule that settled it
	Findings []Finding `json:"findings"`
	Plan     *Plan     `json:"plan,omitempty"`
}

// Decide returns the next plan, or nil when there is nothing to do. It looks
// only at clusters and requests that can need one. A plan that Check would
// refuse as things are, for example because another action on the host is
// pending, is left for later, so that it does not hold up other clusters.
func Decide(v View) *Plan {
	soon := *v.State // as it will be when the plan is applied
	soon.Now = max(soon.Now, v.Now)
	possible := func(p *Plan) bool { return p != nil && Check(&soon, p) == nil }
	for id := range v.State.open.All() {
		if r := v.State.Request(id); r.Status == StatusPending || r.Status == StatusApproval && v.Now >= r.Expires {
			if ver := JudgeRequest(v, r); possible(ver.Plan) {
				return ver.Plan
			}
		}
	}
	for name := range v.State.attn.All() {
		if ver := Judge(v, name); possible(ver.Plan) {
			return ver.Plan
		}
	}
	for id := range v.State.waiting.All() {
		if plan := reassign(v, v.State.Action(id)); possible(plan) {
			return plan
		}
	}
	return nil
}

// Busy says whether Decide can come to a plan by the passing of time alone.
func Busy(s *State) bool { return s.attn.Len() > 0 || s.waiting.Len() > 0 || s.open.Len() > 0 }

// Judge evaluates all rules for one cluster. It is what `explain` shows, for
// decisions and for non-decisions alike.
func Judge(v View, cluster string) Verdict {
	c := v.State.Cluster(cluster)
	if c == nil {
		return Verdict{Subject: cluster, Sentence: "there is no such cluster", Decisive: "cluster.exists"}
	}
	j := &judge{v: v, c: c, ver: Verdict{Subject: cluster}}
	switch {
	case c.Quorum != nil:
		j.quorum()
	case c.Holder == "":
		j.vacant()
	case !c.Spec.Guarded():
		j.find("policy.fencing", No, "", "")
		j.settle("policy.fencing", "%s holds %s; fencing is none, so its lease ends as in etcd and nothing is powered off", c.Holder, c.Name)
	case c.Guard != nil:
		j.guarded()
	default:
		j.living()
	}
	return j.ver
}

// settleRule is the rule by which a holder may come back first.
const settleRule = "guard.settle"

// judge collects the findings for one cluster.
type judge struct {
	v   View
	c   *Cluster
	ver Verdict
}

func (j *judge) find(rule, verdict, inputs, text string) {
	j.ver.Findings = append(j.ver.Findings, Finding{Rule: rule, Verdict: verdict, Inputs: inputs, Text: text})
}

func (j *judge) settle(rule, format string, args ...any) {
	j.ver.Decisive, j.ver.Sentence = rule, fmt.Sprintf(format, args...)
}

// gate adds a finding and, when it says no, settles the verdict by it.
func (j *judge) gate(ok bool, f Finding) bool {
	j.ver.Findings = append(j.ver.Findings, f)
	if !ok {
		j.settle(f.Rule, "%s", f.Text)
	}
	return ok
}

func (j *judge) vacant() {
	c := j.c
	text := "nobody has held " + c.Name + " yet; the first member to ask is granted"
	if c.Last != "" {
		text = fmt.Sprintf("%s is released from %s (%s); its healthy members race for the leader key", c.Last, c.Name, c.Release.Grade)
	}
	j.find("holder.present", No, fmt.Sprintf("epoch=%d", c.Epoch), text)
	j.settle("holder.present", "%s", text)
}

// living judges a holder whose lease is alive: only fast fencing can act.
func (j *judge) living() {
	c, host := j.c, j.c.HolderHost
	j.find("lease.alive", Yes, fmt.Sprintf("holder=%s epoch=%d", c.Holder, c.Epoch), c.Holder+" holds "+c.Name+" and its lease is alive")
	reach, all, f := ruleReach(j.v, host, c.HolderSince)
	j.ver.Findings = append(j.ver.Findings, f)
	session, f := ruleSession(j.v, host)
	j.ver.Findings = append(j.ver.Findings, f)
	renewal, f := ruleRenewal(c)
	j.ver.Findings = append(j.ver.Findings, f)
	// While one witness still connects, Patroni will turn to it within a loop:
	// then lost sessions and failed connections are one sign, not two.
	session = session && all
	agree := reach && (session || renewal)
	if !agree {
		j.find("fast.agree", No, "", "two independent kinds of signal must agree: unreachable from a majority and a late renewal, or unreachable from every living witness and lost sessions")
		j.settle("fast.agree", "%s holds %s with a live lease, and no two kinds of signal agree that it is gone: nothing to do", c.Holder, c.Name)
		return
	}
	j.find("fast.agree", Yes, "", "two independent kinds of signal agree that "+host+" is gone")
	if c.Spec.Fast != FastOn && c.Spec.Fast != FastObserve {
		j.find("fast.policy", No, "fast=off", "fast fencing is off for "+c.Name)
		j.settle("fast.policy", "%s looks gone, but fast fencing is off for %s: its lease decides", host, c.Name)
		return
	}
	if !j.gates(host) || !j.gate(ruleInTouch(j.v, c, false)) {
		return
	}
	if c.Spec.Fast == FastObserve {
		j.find("fast.policy", Wait, "fast=observe", "observe mode only says what it would do")
		j.settle("fast.policy", "%s looks gone; with fast: on it would be powered off now and %s released", host, c.Name)
		if c.Would == 0 {
			j.propose("fast.observe", j.ver.Sentence)
		}
		return
	}
	j.find("fast.policy", Yes, "fast=on", "fast fencing is on for "+c.Name)
	j.settle("fast.agree", "%s is unreachable from a majority of the witnesses and %s; it is powered off before its lease ends, then %s is released",
		host, either(session, "it keeps no connection to any of them", "its renewal is late"), c.Name)
	j.propose("fast.agree", j.ver.Sentence, PlanItem{Kind: ActionFenceOff, Host: host, Member: c.Holder, Condemn: true})
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// gates are the rules that every automatic power-off must pass.
func (j *judge) gates(host string) bool {
	return j.gate(rulePaused(j.c)) &&
		j.gate(ruleDevice(j.v.State, host)) &&
		j.gate(ruleCandidate(j.v.State, j.c)) &&
		j.gate(ruleBlast(j.v.State, j.c, host, true)) &&
		(j.c.Guard != nil && j.c.Guard.Attempts > 0 || j.gate(ruleRate(j.v.State, j.v.Now, host, false)))
}

// guarded judges a holder whose lease is dead and whose key is kept.
func (j *judge) guarded() {
	c, g := j.c, j.c.Guard
	j.find("lease.alive", No, fmt.Sprintf("holder=%s epoch=%d cause=%s", c.Holder, c.Epoch, g.Cause),
		fmt.Sprintf("the lease of %s is dead; renewals are refused, and the leader key stays until %s is proven off", c.Holder, g.Host))
	if g.Action != "" {
		j.find("fence.pending", Wait, "action="+g.Action, "a power-off of "+g.Host+" is under way")
		j.settle("fence.pending", "%s is being powered off; nobody is granted %s before that is proven", g.Host, c.Name)
		return
	}
	if j.watchdogTime() {
		return
	}
	if !j.gates(g.Host) || !j.gate(ruleInTouch(j.v, c, true)) {
		j.hold()
		return
	}
	if j.settling() {
		return
	}
	if g.Attempts > 0 && j.v.Now < g.RetryAt {
		j.find("fence.backoff", Wait, fmt.Sprintf("attempts=%d retry_in=%s", g.Attempts, (g.RetryAt-j.v.Now).Round(100*time.Millisecond)), "the last power-off proved nothing: "+g.LastWhy)
		j.settle("fence.unproven", "%s", j.unprovenSentence())
		j.recordHold("fence.unproven")
		return
	}
	executor := executorFor(j.v, g.Host, g.Attempts)
	j.find("fence.backoff", Yes, fmt.Sprintf("attempts=%d", g.Attempts), "it is time for the next attempt")
	j.settle("guard.fence", "the lease of %s is dead (%s): its host %s is powered off before %s is released", c.Holder, g.Cause, g.Host, c.Name)
	j.propose("guard.fence", j.ver.Sentence, PlanItem{Kind: ActionFenceOff, Host: g.Host, Member: c.Holder, Executor: executor})
}

// settling gives the holder one turn of its loop to come back, after a hold
// that was not its fault: the network of all hosts, or Patroni's pause.
func (j *judge) settling() bool {
	c, g := j.c, j.c.Guard
	begin := g.Held == "patroni.managed" || strings.HasPrefix(g.Held, "candidate.")
	if !begin && (g.Held != settleRule || j.v.Now >= g.RetryAt) {
		return false
	}
	j.find(settleRule, Wait, fmt.Sprintf("time=%s", settleTime(c.Settings)), "what held the failover is over; the holder may come back first")
	j.settle(settleRule, "what held the failover of %s is over; %s has %s to come back before its host %s is powered off", c.Name, c.Holder, settleTime(c.Settings), g.Host)
	j.recordHold(settleRule)
	return true
}

func (j *judge) unprovenSentence() string {
	c, g := j.c, j.c.Guard
	if !c.Spec.Unlocks(GradePerson) {
		return fmt.Sprintf("held: %s, the host of %s, is not proven off after %d attempts, so nobody else is granted %s; mend its fence device: the policy takes no person's word",
			g.Host, c.Holder, g.Attempts, c.Name)
	}
	return fmt.Sprintf("held: %s, the host of %s, is not proven off after %d attempts, so nobody else is granted %s; mend its fence device, or see for yourself that it is off and run `witnessctl fence confirm-off %s --by NAME --reason TEXT`",
		g.Host, c.Holder, g.Attempts, c.Name, g.Host)
}

// watchdogTime releases without proof where policy trusts a watchdog.
func (j *judge) watchdogTime() bool {
	c, g := j.c, j.c.Guard
	if c.Spec.OnUnproven != UnprovenReleaseAfter {
		j.find("unproven.policy", No, "on_unproven=hold", "without proof "+c.Name+" is held")
		return false
	}
	if c.Settings.Pause || c.Settings.Failsafe {
		j.find("unproven.policy", No, fmt.Sprintf("on_unproven=release-after pause=%t failsafe_mode=%t", c.Settings.Pause, c.Settings.Failsafe),
			"in maintenance mode Patroni does not arm the watchdog, and in failsafe_mode a holder without witnesses feeds it: its time proves nothing")
		return false
	}
	left := selfFenced(j.v.State, c) - j.v.Now
	if left > 0 || g.Attempts == 0 {
		j.find("unproven.policy", Wait, fmt.Sprintf("on_unproven=release-after left=%s attempts=%d", max(left, 0).Round(100*time.Millisecond), g.Attempts),
			"without proof "+c.Name+" is released when the watchdog's time is over and at least one power-off was tried")
		return false
	}
	j.find("unproven.policy", Yes, fmt.Sprintf("on_unproven=release-after after=%s", time.Duration(c.Spec.ReleaseAfter)), "the watchdog's time is over")
	j.settle("unproven.policy", "%s could not be proven off, but its watchdog must have reset it within %s: %s is released",
		g.Host, time.Duration(c.Spec.ReleaseAfter), c.Name)
	j.propose("unproven.policy", j.ver.Sentence, PlanItem{Kind: ActionRelease, Host: g.Host, Member: c.Holder})
	return true
}

// hold keeps the guard because a gate said no.
func (j *judge) hold() {
	rule, why := j.ver.Decisive, j.ver.Sentence
	j.settle(rule, "held: %s; %s keeps the leader key of %s, and nobody else is granted", why, j.c.Holder, j.c.Name)
	j.recordHold(rule)
}

// recordHold makes the hold itself an entry, once per reason.
func (j *judge) recordHold(rule string) {
	if j.c.Guard.Held != rule {
		j.propose(rule, j.ver.Sentence)
	}
}

func (j *judge) propose(rule, why string, items ...PlanItem) {
	j.ver.Plan = &Plan{
		Cluster: j.c.Name, Parent: j.c.Version, Epoch: j.c.Epoch, Rule: rule, Why: why,
		Rules: j.ver.Findings, Actions: items, Format: planFormat,
	}
}

// reassign gives an action to somebody else when its executor is silent.
func reassign(v View, a *Action) *Plan {
	late := v.Now-a.Planned > actionTimeout
	// Off may be done twice. On may not come after a later off: nobody else begins
	// before the time of the first executor is surely over.
	gone := a.Executor != "" && a.Kind != ActionFenceOn && !slices.Contains(v.Alive, a.Executor)
	if !late && !gone {
		return nil
	}
	p := &Plan{
		Cluster: a.Cluster, Epoch: a.Epoch, Request: a.Request, Rule: "fence.executor",
		Format: planFormat,
	}
	next := bestExecutor(v, a.Host, a.Executor)
	if a.Kind == ActionFenceOn {
		next = onExecutor(v, a.Host, a.Executor)
	}
	p.Why = fmt.Sprintf("witness %s did not report on %s of %s in time; %s does it", orLeader(a.Executor), a.Kind, a.Host, orTheLeader(next))
	p.Actions = []PlanItem{{Kind: a.Kind, Host: a.Host, Executor: next, Replaces: a.ID}}
	if c := v.State.Cluster(a.Cluster); c != nil {
		p.Parent, p.Epoch = c.Version, c.Epoch
	} else {
		p.Cluster = "" // declared no more
	}
	return p
}

// Abandoned returns the actions that are overdue and were given to nobody else,
// because Check does not let them be planned anew.
func Abandoned(v View) []*Action {
	var out []*Action
	for _, a := range v.State.PendingActions() {
		if v.Now-a.Planned > actionTimeout+abandonTime {
			out = append(out, a)
		}
	}
	return out
}

func orTheLeader(executor string) string {
	if executor == "" {
		return "the leader"
	}
	return executor
}

func orLeader(executor string) string {
	if executor == "" {
		return "(the leader of then)"
	}
	return executor
}
