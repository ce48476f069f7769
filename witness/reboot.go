package witness

import "fmt"

// A reboot is a sequence in the log: off, proven, on. Each step is an action of
// its own, so that whoever carries on knows what was proven: the machine is
// never switched on before its off is an entry.

// reboot judges a request for it: first for the power-off, and when that is
// proven once more, for the power-on.
func (q *requestJudge) reboot() {
	host := q.r.Host
	if q.r.Off != "" { // whoever has the vote by now: a machine that is left off serves nobody
		if q.join(ActionFenceOn) || !q.gate(ruleUnfence(q.s, host)) {
			return
		}
		q.plan("reboot.on", fmt.Sprintf("%s is proven off by action %s; %s asked for a reboot: it is powered on", host, q.r.Off, q.r.By),
			PlanItem{Kind: ActionFenceOn, Host: host, Executor: onExecutor(q.v, host, "")})
		return
	}
	held := q.s.Host(host).Fenced
	if !q.mayAsk() || q.joinReboot() || !q.gate(!held, Finding{
		Rule: "reboot.held-off", Verdict: verdict(!held),
		Text: either(held, host+" is held off: a reboot would power on what somebody wants off; ask for `fence on`", host+" is not held off"),
	}) || !q.mayOff(host) {
		return
	}
	q.plan("reboot.off", fmt.Sprintf("%s asks for a reboot of %s: %s; first it is powered off", q.r.By, host, q.r.Reason),
		PlanItem{Kind: ActionFenceOff, Host: host, Executor: bestExecutor(q.v, host, "")})
}

// joinReboot makes the request share a reboot that is under way. A power-off
// that somebody wants to last is another thing, and is waited for.
func (q *requestJudge) joinReboot() bool {
	for id := range q.s.waiting.All() {
		if a := q.s.Action(id); a.Host == q.r.Host && q.s.ofReboot(a) {
			q.plan("fence.dedupe", fmt.Sprintf("a reboot of %s is under way already as action %s", a.Host, id)).Join = id
			return true
		}
	}
	return false
}

// ofReboot says whether an action is a step of a reboot.
func (s *State) ofReboot(a *Action) bool {
	r := s.Request(a.Request)
	return r != nil && r.Kind == RequestReboot
}

// actionOver tells a request that its action is over.
func (a *applier) actionOver(r *Request, act *Action) {
	switch {
	case r.Kind == RequestReboot && act.Kind == ActionFenceOff && act.Outcome == Confirmed:
		a.editRequest(r.ID, func(r *Request) { r.Status, r.Off, r.Action = StatusPending, act.ID, "" })
	case r.Kind == RequestReboot && act.Kind == ActionFenceOn && act.Outcome != Confirmed:
		// The fence has succeeded; that the machine is not back is told beside it.
		text := fmt.Sprintf("%s was proven off, but it is not sure that it is on again: %s", act.Host, act.Reason)
		a.event(Event{Kind: "reboot-not-on", Level: LevelAlert, Cluster: act.Cluster, Host: act.Host, Request: r.ID, Action: act.ID, Text: text})
		a.endRequest(r.ID, StatusDone, "", text)
	case act.Outcome == Confirmed:
		a.endRequest(r.ID, StatusDone, "", act.Reason)
	default:
		a.endRequest(r.ID, StatusFailed, "", act.Reason)
	}
}
