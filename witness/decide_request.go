package witness

import "fmt"

// JudgeRequest evaluates a pending request of a person or a program. Its
// verdict always carries a plan: to do it, to join what is under way, or to
// refuse it by a named rule.
func JudgeRequest(v View, r *Request) Verdict {
	q := &requestJudge{s: v.State, r: r, ver: Verdict{Subject: fmt.Sprintf("request %d", r.ID)}}
	switch r.Kind {
	case RequestFenceOff:
		q.fenceOff()
	case RequestFenceOn:
		q.fenceOn()
	case RequestSwitchover:
		q.switchover()
	}
	return q.ver
}

type requestJudge struct {
	s   *State
	r   *Request
	ver Verdict
}

// gate lets the request pass a rule, refuses it, or notes the override.
func (q *requestJudge) gate(ok bool, f Finding) bool {
	if !ok && q.r.Overrides(f.Rule) {
		f.Verdict = "overridden"
		f.Text += "; overridden by " + q.r.By + ": " + q.r.Reason
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
	p := &Plan{Rule: rule, Why: why, Rules: q.ver.Findings, Actions: items, Request: q.r.ID, Cluster: q.r.Cluster}
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

// join makes the request share an action that is already under way.
func (q *requestJudge) join(kind string) bool {
	for id := range q.s.waiting.All() {
		if a := q.s.Action(id); a.Host == q.r.Host && a.Kind == kind {
			q.plan("fence.dedupe", fmt.Sprintf("%s of %s is under way already as action %s", kind, a.Host, id)).Join = id
			return true
		}
	}
	return false
}

func (q *requestJudge) fenceOff() {
	host := q.r.Host
	if q.join(ActionFenceOff) || !q.gate(ruleDevice(q.s, host)) {
		return
	}
	if ref, ok := q.s.members[host]; ok {
		c := q.s.Cluster(ref.cluster)
		if c.Quorum != nil {
			q.fenceNode(c, ref.member)
			return
		}
		live := c.Holder == ref.member && c.Guard == nil
		if !q.gate(!live, Finding{
			Rule: "fence.holder", Verdict: verdict(!live),
			Text: either(live, fmt.Sprintf("%s runs %s, which holds %s with a live lease: powering it off would end a healthy service", host, ref.member, c.Name),
				fmt.Sprintf("%s runs %s, which does not hold %s with a live lease", host, ref.member, c.Name)),
		}) || !q.gate(ruleBlast(q.s, c, host)) {
			return
		}
	}
	q.plan("fence.request", fmt.Sprintf("%s asks for power-off of %s: %s", q.r.By, host, q.r.Reason), PlanItem{Kind: ActionFenceOff, Host: host})
}

func (q *requestJudge) fenceOn() {
	host := q.r.Host
	if q.join(ActionFenceOn) || !q.gate(ruleDevice(q.s, host)) {
		return
	}
	if ref, ok := q.s.members[host]; ok {
		c := q.s.Cluster(ref.cluster)
		free := c.Guard == nil || c.Guard.Host != host
		if !q.gate(free, Finding{
			Rule: "unfence.guarded", Verdict: verdict(free),
			Text: either(free, c.Name+" does not wait for a proof that "+host+" is off",
				fmt.Sprintf("%s waits for the proof that %s is off; power it on after the release", c.Name, host)),
		}) {
			return
		}
	}
	q.plan("unfence.request", fmt.Sprintf("%s asks for power-on of %s: %s", q.r.By, host, q.r.Reason), PlanItem{Kind: ActionFenceOn, Host: host})
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
