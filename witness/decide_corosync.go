package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"quorate/witness/vote"
)

// fencing returns the fencing policy of a corosync cluster.
func (c *ClusterSpec) quorumFencing() string {
	if c.Fencing == "" {
		return FencingOnRequest
	}
	return c.Fencing
}

// quorumNeeds says whether the passing of time, or a decision, can make the
// witnesses power a node of a corosync cluster off.
func (s *State) quorumNeeds(c *Cluster) bool {
	return c.Quorum != nil && c.Spec.quorumFencing() == FencingProactive && len(doomed(c)) > 0
}

// doomed returns the nodes that proactive fencing powers off: those that lost the
// vote to others and are not about to have it, and those that keep an ACK which
// only a power-off can end.
func doomed(c *Cluster) []*QuorumNode {
	q := c.Quorum
	var out []*QuorumNode
	for i := range q.Nodes {
		n := &q.Nodes[i]
		lost := n.Lost > 0 && len(q.Partition) > 0 && !slices.Contains(q.Partition, n.ID) && !slices.Contains(q.Selected, n.ID)
		if lost || q.stuck(n) {
			out = append(out, n)
		}
	}
	return out
}

// stuck says whether others shall have the vote and only the power-off of a node
// can take it from there. One that is with them has the vote as they do.
func (q *Quorum) stuck(n *QuorumNode) bool {
	return q.Phase == PhaseNACK && len(q.Selected) > 0 && !slices.Contains(q.Selected, n.ID) && n.May && n.Gone != nil && n.Gone.Sticky
}

// quorum judges a corosync cluster.
func (j *judge) quorum() {
	c, q := j.c, j.c.Quorum
	j.connections()
	res := vote.Run(q.Ballot())
	if q.Phase != PhaseIdle {
		for _, st := range res.Steps {
			j.find(st.Rule, verdict(st.Yes), "", st.Text)
		}
	}
	switch q.Phase {
	case PhaseIdle:
		j.settle("vote.connected", "no node of %s is connected: nobody can be given its vote%s", c.Name, heldText(c))
	case PhaseWaiting:
		why := "the connected nodes do not agree yet"
		for _, st := range res.Steps {
			if st.Rule == "vote.stable" && !st.Yes {
				why = st.Text
			}
		}
		j.settle("vote.stable", "the vote of %s waits: %s%s", c.Name, why, heldText(c))
	case PhaseNACK:
		j.withdrawing()
	default:
		j.find("vote.nack-first", Yes, fmt.Sprintf("run=%d", q.Run), "every NACK of this run is answered, and no ACK is left elsewhere")
		text := fmt.Sprintf("%s has the vote of %s with epoch %d", c.Holder, c.Name, c.Epoch)
		if c.Holder == "" {
			text = "no partition may have the vote of " + c.Name
		}
		if lost := lostNames(c); lost != "" {
			text += "; " + lost + " lost it"
		}
		j.settle("vote.selected", "%s", text)
	}
	j.losers()
}

func heldText(c *Cluster) string {
	if c.Holder == "" {
		return ""
	}
	return "; " + c.Holder + " had it last, with epoch " + fmt.Sprint(c.Epoch)
}

func lostNames(c *Cluster) string {
	var ids []uint32
	for i := range c.Quorum.Nodes {
		if n := &c.Quorum.Nodes[i]; n.Lost > 0 {
			ids = append(ids, n.ID)
		}
	}
	return c.Spec.nodeNames(ids)
}

func (j *judge) connections() {
	var on, off []string
	for _, m := range j.c.Spec.Members {
		if n := j.c.Quorum.Node(m.Node); n != nil && n.Session != nil {
			on = append(on, m.Name+" to "+n.Session.Owner)
		} else {
			off = append(off, m.Name)
		}
	}
	text := "connected: " + strings.Join(on, ", ")
	if len(off) > 0 {
		text += "; not connected: " + strings.Join(off, ", ")
	}
	j.find("vote.connected", verdict(len(off) == 0), fmt.Sprintf("algorithm=%q tie_breaker=%q", j.c.Quorum.Algorithm, j.c.Quorum.TieBreaker), text)
}

// withdrawing says what the winners wait for.
func (j *judge) withdrawing() {
	c, q := j.c, j.c.Quorum
	to := "nobody"
	if len(q.Selected) > 0 {
		to = c.Spec.nodeNames(q.Selected)
	}
	rule, why := "vote.nack-first", ""
	for _, n := range q.Withdrawing() {
		name := c.Spec.NodeName(n.ID)
		switch {
		case n.Session != nil && n.Session.Want == vote.NACK:
			why = fmt.Sprintf("%s has been told NACK %d and has not answered", name, n.Session.VoteSeq)
		case n.Session != nil:
			why = fmt.Sprintf("%s may still count its ACK, and does not agree with the others on the membership yet", name)
		case n.Gone.Sticky && slices.Contains(q.Selected, n.ID):
			why = fmt.Sprintf("%s is on that side and keeps its ACK without the witnesses; a new ACK waits until it is connected again, or proven off", name)
		case n.Gone.Sticky:
			rule = "vote.gate"
			why = fmt.Sprintf("%s was given the ACK and keeps it without the witnesses (%s with wait_for_all): only a proof that it is off makes it safe to hand the vote over; power it off (`witnessctl fence off %s`), or declare `wait_for_all: no` if that is how corosync is configured",
				name, q.Algorithm, orName(c.Spec.NodeHost(n.ID), name))
		default:
			why = fmt.Sprintf("%s may count its ACK for up to %s after its session ended (%s)", name, n.Gone.Void().Round(100*time.Millisecond), goneText(n.Gone.Cause))
		}
		j.find(rule, Wait, fmt.Sprintf("run=%d node=%d", q.Run, n.ID), why)
	}
	j.settle(rule, "the vote of %s shall go to %s, which waits: %s", c.Name, to, why)
}

func orName(host, name string) string {
	if host == "" {
		return name
	}
	return host
}

// losers powers off those that lost, where policy says so.
func (j *judge) losers() {
	c := j.c
	policy := c.Spec.quorumFencing()
	switch policy {
	case FencingOff:
		j.find("fence.policy", No, "fencing=off", "the witnesses power no node of "+c.Name+" off")
		return
	case FencingOnRequest:
		j.find("fence.policy", No, "fencing=on-request", "a node of "+c.Name+" is powered off when the side that has the vote asks for it")
		return
	}
	j.find("fence.policy", Yes, "fencing=proactive", "whoever lost the vote of "+c.Name+" to others is powered off")
	for _, n := range doomed(c) {
		j.loser(n)
		if j.ver.Plan != nil {
			return
		}
	}
}

// loser judges the power-off of one node.
func (j *judge) loser(n *QuorumNode) {
	c, s := j.c, j.v.State
	host, name := c.Spec.NodeHost(n.ID), c.Spec.NodeName(n.ID)
	if host == "" {
		j.find("fence.device", No, "", name+" is not declared, so nobody can power it off")
		return
	}
	for id := range s.waiting.All() {
		if a := s.Action(id); a.Host == host {
			j.find("fence.pending", Wait, "action="+id, a.Kind+" of "+host+" is under way")
			return
		}
	}
	if s.Host(host).Fenced {
		j.find("fence.pending", Yes, "", host+" is proven off")
		return
	}
	for _, gate := range []func() (bool, Finding){
		func() (bool, Finding) { return ruleDevice(s, host) },
		func() (bool, Finding) { return ruleQuorumBlast(s, c, host, "") },
	} {
		ok, f := gate()
		j.ver.Findings = append(j.ver.Findings, f)
		if !ok {
			return
		}
	}
	if n.Attempts == 0 {
		ok, f := ruleRate(s, j.v.Now, host, false)
		j.ver.Findings = append(j.ver.Findings, f)
		if !ok {
			return
		}
	}
	if n.Attempts > 0 && j.v.Now < n.RetryAt {
		j.find("fence.backoff", Wait, fmt.Sprintf("attempts=%d retry_in=%s", n.Attempts, (n.RetryAt-j.v.Now).Round(100*time.Millisecond)), "the last power-off of "+host+" proved nothing")
		return
	}
	executor := executorFor(j.v, host, n.Attempts)
	rule, why := "vote.loser", fmt.Sprintf("%s lost the vote of %s to %s with epoch %d: its host %s is powered off", name, c.Name, c.Holder, n.Lost, host)
	if n.Lost == 0 {
		rule = "vote.gate"
		why = fmt.Sprintf("%s keeps its ACK of %s without the witnesses, and %s shall have the vote: its host %s is powered off first", name, c.Name, c.Spec.nodeNames(c.Quorum.Selected), host)
	}
	j.find(rule, Yes, "", why)
	j.propose(rule, why, PlanItem{Kind: ActionFenceOff, Host: host, Member: name, Executor: executor})
}

// ruleQuorumBlast: would this leave more than half of the nodes powered off,
// those that are being powered off now included?
func ruleQuorumBlast(s *State, c *Cluster, host, replaces string) (bool, Finding) {
	off := 0
	for _, m := range c.Spec.Members {
		if m.Host == host {
			continue
		}
		down := s.Host(m.Host).Fenced
		for id := range s.waiting.All() {
			a := s.Action(id)
			down = down || a.Host == m.Host && a.Kind == ActionFenceOff && id != replaces
		}
		if down {
			off++
		}
	}
	n := len(c.Spec.Members)
	ok := off+1 <= max(n/2, 1)
	return ok, Finding{
		Rule: "fence.blast-radius", Verdict: verdict(ok),
		Inputs: fmt.Sprintf("off_now=%d members=%d", off, n),
		Text:   fmt.Sprintf("%d of %d hosts of %s are off already, or being powered off; more than half must never be", off, n, c.Name),
	}
}

// checkLoser refuses the power-off of a node that did not lose the vote. One that
// was planned already is judged again by whoever does it: see [Moot].
func checkLoser(s *State, c *Cluster, item *PlanItem) *Error {
	old := s.Action(item.Replaces)
	again := old != nil && old.Outcome == Pending && old.Kind == item.Kind && old.Host == item.Host
	if why := notLost(c, item.Host); why != "" && !again {
		return unsafe("%s", why)
	}
	if ok, f := ruleQuorumBlast(s, c, item.Host, item.Replaces); !ok {
		return unsafe("%s", f.Text)
	}
	return nil
}

// notLost says why nobody but a person may have a host powered off, or "".
func notLost(c *Cluster, host string) string {
	switch {
	case c.Spec.quorumFencing() != FencingProactive:
		return fmt.Sprintf("nobody asked for %s to be powered off, and the policy of %s is %s", host, c.Name, c.Spec.quorumFencing())
	case !slices.ContainsFunc(doomed(c), func(n *QuorumNode) bool { return c.Spec.NodeHost(n.ID) == host }):
		return fmt.Sprintf("%s did not lose the vote of %s, or has it again", host, c.Name)
	}
	return ""
}

// mayOffNode are the rules for the power-off of a node of a corosync cluster that
// somebody asks for. A side that asks on a node's behalf has the vote: see mayAsk.
func (q *requestJudge) mayOffNode(c *Cluster, member string) bool {
	host, target := q.r.Host, c.Spec.Member(member)
	allowed := c.Spec.quorumFencing() != FencingOff
	if !q.gate(allowed, Finding{
		Rule: "fence.policy", Verdict: verdict(allowed), Inputs: "fencing=" + c.Spec.quorumFencing(),
		Text: either(allowed, "the policy of "+c.Name+" allows it", fmt.Sprintf("the policy of %s is fencing: off, the witnesses power none of its nodes off", c.Name)),
	}) {
		return false
	}
	if q.r.Requester == "" {
		// A node that keeps its ACK without the witnesses stands in the way of those
		// who shall have the vote: its power-off is what they wait for.
		n, soon := c.Quorum.Node(target.Node), c.Quorum.Phase == PhaseNACK && slices.Contains(c.Quorum.Selected, target.Node)
		holds := soon || slices.Contains(c.Quorum.Partition, target.Node) && !(n != nil && c.Quorum.stuck(n))
		text := fmt.Sprintf("%s does not have the vote of %s", member, c.Name)
		switch {
		case holds && slices.Contains(c.Quorum.Partition, target.Node):
			text = fmt.Sprintf("%s is in the partition %s, which has the vote of %s: powering it off would end a healthy service", member, c.Holder, c.Name)
		case holds:
			text = fmt.Sprintf("%s is about to have the vote of %s: powering it off would leave nobody with it", member, c.Name)
		}
		if !q.gate(!holds, Finding{Rule: "fence.holder", Verdict: verdict(!holds), Text: text}) {
			return false
		}
	}
	return q.gate(ruleQuorumBlast(q.s, c, host, ""))
}

// voteMoves says whether the vote of the cluster of whoever asks is on its way: the
// request waits for it, since either side may get it.
func (q *requestJudge) voteMoves() bool {
	host, known := q.s.requesterHost(q.r.Requester, q.r.Host)
	ref, isMember := q.s.members[host]
	if !known || !isMember {
		return false
	}
	c := q.s.Cluster(ref.cluster)
	if c.Quorum == nil || !moving(c) && c.Quorum.Phase != PhaseWaiting {
		return false
	}
	q.ver.Findings = append(q.ver.Findings, Finding{Rule: "fence.vote", Verdict: Wait, Text: "the vote of " + c.Name + " is being decided"})
	q.ver.Decisive, q.ver.Sentence = "fence.vote", fmt.Sprintf("%s asks to power off %s while the vote of %s is being decided: it waits for that", ref.member, q.r.Host, c.Name)
	return true
}

// corosyncVote: the vote is with the nodes of the partition that has it.
func corosyncVote(s *State, c *Cluster, host string) (bool, string) {
	member := c.Spec.Member(s.members[host].member)
	switch {
	case member != nil && slices.Contains(c.Quorum.Partition, member.Node):
		return true, fmt.Sprintf("%s is in the partition that has the vote of %s, epoch %d", member.Name, c.Name, c.Epoch)
	case c.Holder == "":
		return false, "nobody has it"
	}
	return false, fmt.Sprintf("it is with %s since epoch %d", c.Holder, c.Epoch)
}

// connected says that a member of a corosync cluster is connected, or "".
func (c *Cluster) connected(member string) string {
	if c.Quorum == nil {
		return ""
	}
	n := c.Quorum.Node(c.Spec.Member(member).Node)
	if n == nil || n.Session == nil {
		return ""
	}
	return fmt.Sprintf("the qdevice of %s is connected to %s: it is on and talks to the witnesses; stop it first, or wait until its session has expired", member, n.Session.Owner)
}
