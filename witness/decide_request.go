package witness

import (
	"fmt"
	"strings"
)

// JudgeRequest evaluates a pending request of a person or a program. Its
// verdict always carries a plan: to do it, to join what is under way, or to
// refuse it by a named rule.
func JudgeRequest(v View, r *Request) Verdict {
	q := &requestJudge{v: v, s: v.State, r: r, ver: Verdict{Subject: fmt.Sprintf("request %d", r.ID)}}
	if q.expired() {
		return q.ver
	}
	switch r.Kind {
	case RequestReboot:
		q.reboot()
	case RequestFenceOff:
		q.fenceOff()
	case RequestFenceOn:
		q.fenceOn()
	case RequestSwitchover:
		q.switchover()
	}
	return q.ver
}

// expired refuses what nobody waits for any more: an order that is carried out
// late hits another situation than the one that it was meant for.
func (q *requestJudge) expired() bool {
	switch r := q.r; {
	case r.Status == StatusApproval && q.v.Now >= r.Expires:
		q.plan("approval.expired", "no second person agreed in time").Refuse = true
	case r.Timeout > 0 && q.v.Now-r.At > r.Timeout && r.Off == "":
		q.plan("request.timeout", fmt.Sprintf("it could not be begun within its %s; ask again if it is still wanted", r.Timeout)).Refuse = true
	default:
		return false
	}
	return true
}

type requestJudge struct {
	v   View
	s   *State
	r   *Request
	ver Verdict

	overrode []string // rules that said no
}

// gate lets the request pass a rule, refuses it, or notes the override.
func (q *requestJudge) gate(ok bool, f Finding) bool {
	if !ok && q.r.Overrides(f.Rule) {
		f.Verdict = "overridden"
		f.Text += "; overridden by " + q.r.By + ": " + q.r.Reason
		q.overrode = append(q.overrode, f.Rule)
		ok = true
	}
	q.ver.Findings = append(q.ver.Findings, f)
	if !ok {
		q.ver.Sentence = f.Text
		q.plan(f.Rule, f.Text).Refuse = true
	}
	return ok
}

func (q *requestJudge) plan(rule, why string, items ...PlanItem) *Plan {
	if len(items) > 0 && len(q.overrode) > 0 {
		why += " (overrides " + strings.Join(q.overrode, ", ") + ")"
	}
	p := &Plan{Rule: rule, Why: why, Rules: q.ver.Findings, Actions: items, Request: q.r.ID, Cluster: q.r.Cluster, Format: planFormat}
	if p.Cluster == "" {
		if ref, ok := q.s.members[q.r.Host]; ok {
			p.Cluster = ref.cluster
		}
	}
	if c := q.s.Cluster(p.Cluster); c != nil {
		p.Parent, p.Epoch = c.Version, c.Epoch
	} else {
		p.Cluster = "" // declared no more; the request is answered all the same
	}
	q.ver.Decisive, q.ver.Sentence, q.ver.Plan = rule, why, p
	return p
}

// join makes the request share an action that is already under way. The steps
// of a reboot are not shared: a power-off that was asked for is to last.
func (q *requestJudge) join(kind string) bool {
	for id := range q.s.waiting.All() {
		if a := q.s.Action(id); a.Host == q.r.Host && a.Kind == kind && (kind == ActionFenceOn || !q.s.ofReboot(a)) {
			q.plan("fence.dedupe", fmt.Sprintf("%s of %s is under way already as action %s", kind, a.Host, id)).Join = id
			return true
		}
	}
	return false
}

func (q *requestJudge) fenceOff() {
	host := q.r.Host
	if !q.mayAsk() || q.join(ActionFenceOff) || !q.mayOff(host) {
		return
	}
	q.plan("fence.request", fmt.Sprintf("%s asks for power-off of %s: %s", q.r.By, host, q.r.Reason),
		PlanItem{Kind: ActionFenceOff, Host: host, Executor: bestExecutor(q.v, host, "")})
}

// mayAsk refuses the side that does not hold the vote.
func (q *requestJudge) mayAsk() bool {
	if q.r.Requester == "" {
		return true
	}
	if q.voteMoves() {
		return false
	}
	ok, f := ruleVote(q.s, q.r)
	q.ver.Findings = append(q.ver.Findings, f)
	if !ok {
		q.plan(f.Rule, f.Text).Refuse = true
	}
	return ok
}

// mayOff are the rules that every power-off that somebody asks for must pass.
func (q *requestJudge) mayOff(host string) bool {
	if !q.gate(ruleDevice(q.s, host)) {
		return false
	}
	if ref, ok := q.s.members[host]; ok {
		c := q.s.Cluster(ref.cluster)
		may := q.mayOffMember
		if c.Quorum != nil {
			may = q.mayOffNode
		}
		if !may(c, ref.member) {
			return false
		}
	}
	return q.gate(ruleRate(q.s, q.v.Now, host, true)) && q.approved()
}

// mayOffMember are those for a member of a cluster with a leader key.
func (q *requestJudge) mayOffMember(c *Cluster, member string) bool {
	host, live := q.r.Host, c.Holder == member && c.Guard == nil
	return q.gate(!live, Finding{
		Rule: "fence.holder", Verdict: verdict(!live),
		Text: either(live, fmt.Sprintf("%s runs %s, which holds %s with a live lease: powering it off would end a healthy service", host, member, c.Name),
			fmt.Sprintf("%s runs %s, which does not hold %s with a live lease", host, member, c.Name)),
	}) && q.gate(ruleBlast(q.s, c, host, true))
}

// approved lets a request that passed every rule wait for a second person, if
// the policy asks for one.
func (q *requestJudge) approved() bool {
	if !q.s.wantsApproval(q.r) {
		return true
	}
	text := "the policy wants a second person to agree to this"
	q.ver.Findings = append(q.ver.Findings, Finding{Rule: "approval.two-person", Verdict: Wait, Text: text})
	q.plan("approval.two-person", text).Await = true
	return false
}

func (q *requestJudge) fenceOn() {
	host := q.r.Host
	if !q.mayAsk() || q.join(ActionFenceOn) || !q.gate(ruleDevice(q.s, host)) || !q.gate(ruleUnfence(q.s, host)) {
		return
	}
	q.plan("unfence.request", fmt.Sprintf("%s asks for power-on of %s: %s", q.r.By, host, q.r.Reason),
		PlanItem{Kind: ActionFenceOn, Host: host, Executor: onExecutor(q.v, host, "")})
}

// ruleUnfence: does a cluster wait for the proof that this host is off?
func ruleUnfence(s *State, host string) (bool, Finding) {
	c := s.guardOf(host)
	text := "no cluster waits for a proof that " + host + " is off"
	if ref, ok := s.members[host]; ok {
		text = ref.cluster + " does not wait for a proof that " + host + " is off"
	}
	if c != nil {
		text = fmt.Sprintf("%s waits for the proof that %s is off; power it on after the release", c.Name, host)
	}
	return c == nil, Finding{Rule: "unfence.guarded", Verdict: verdict(c == nil), Text: text}
}

func (q *requestJudge) switchover() {
	c := q.s.Cluster(q.r.Cluster)
	if c == nil {
		q.plan("cluster.exists", "the cluster is declared no more").Refuse = true
		return
	}
	if c.Quorum != nil {
		q.plan("switchover.kind", fmt.Sprintf("%s is a corosync cluster: Pacemaker moves its resources (`crm_resource --move`), the witnesses only have its vote", c.Name)).Refuse = true
		return
	}
	held := c.Holder != "" && c.Guard == nil
	if !q.gate(held, Finding{Rule: "switchover.holder", Verdict: verdict(held), Text: either(held, c.Holder+" holds "+c.Name+" with a live lease",
		fmt.Sprintf("a switchover needs a living holder of %s; for a lost one the witnesses fail over by themselves (`witnessctl cluster explain %s`)", c.Name, c.Name))}) {
		return
	}
	idle := c.Current() == nil && c.Switch == ""
	if !q.gate(idle, Finding{Rule: "switchover.idle", Verdict: verdict(idle), Text: either(idle, "no other change of the holder of "+c.Name+" is under way",
		"another change of the holder of "+c.Name+" is under way: wait for its end, `witnessctl cluster history "+c.Name+"` shows it")}) ||
		!q.gate(rulePaused(c)) || !q.gate(ruleTarget(q.s, c, q.r.To)) {
		return
	}
	to := q.r.To
	if to == "" {
		to = bestCandidate(q.s, c)
	}
	q.plan("switchover.request", fmt.Sprintf("%s asks to move %s from %s to %s: %s", q.r.By, c.Name, c.Holder, to, q.r.Reason),
		PlanItem{Kind: ActionSwitchover, Member: c.Holder, To: to})
}

// ruleTarget: can the wanted member, or any, take over?
func ruleTarget(s *State, c *Cluster, to string) (bool, Finding) {
	if to == "" {
		return ruleCandidate(s, c)
	}
	why := ""
	switch m := c.MemberNamed(to); {
	case to == c.Holder:
		why = "it holds the cluster already"
	case m == nil:
		why = "it is not a member that reports"
	default:
		why = Unfit(s, c, m)
	}
	text := to + " is fit to take over"
	if why != "" {
		text = fmt.Sprintf("%s cannot take over: %s", to, why)
	}
	return why == "", Finding{Rule: "switchover.target", Verdict: verdict(why == ""), Text: text}
}

// bestCandidate returns the fit member with the least lag.
func bestCandidate(s *State, c *Cluster) string {
	best, lag := "", int64(0)
	for i := range c.Members {
		m := &c.Members[i]
		if m.Name == c.Holder || Unfit(s, c, m) != "" {
			continue
		}
		if best == "" || c.Lag(m) < lag {
			best, lag = m.Name, c.Lag(m)
		}
	}
	return best
}
