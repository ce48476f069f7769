package witness

import (
	"fmt"
	"slices"

	"quorate/witness/vote"
)

// cast runs the vote for a client that said something new, and returns what it
// is answered at once. ACK and NACK always follow as messages of their own.
func (a *applier) cast(c *Cluster, n *QuorumNode) QnetdReply {
	a.run(c)
	if n.Session.Want == vote.WaitForReply || c.Quorum.Phase == PhaseWaiting && c.Quorum.Algorithm == vote.FFSplit {
		return QnetdReply{Vote: vote.WaitForReply}
	}
	return QnetdReply{Vote: vote.NoChange}
}

// strict says whether a cluster is decided as stock lms does.
func (c *Cluster) strict() bool {
	return c.Quorum.Algorithm == vote.LMS && c.Spec.StrictLMS == "yes"
}

// rerun runs the vote after somebody came or went. Stock lms does not.
func (a *applier) rerun(c *Cluster) {
	if !c.strict() {
		a.run(c)
		return
	}
	if len(c.Quorum.Connected()) == 0 {
		c.Quorum.Phase = PhaseIdle
	}
	a.advance(c)
}

// run lets the connected nodes vote anew. It abandons what was under way.
func (a *applier) run(c *Cluster) {
	q := c.Quorum
	ballot := q.Ballot()
	if len(ballot.Clients) == 0 {
		q.Phase, q.Run = PhaseIdle, a.e.Index
		a.advance(c)
		return
	}
	a.take(c, vote.Run(ballot))
}

// take begins a run with its result: the losers are told first.
func (a *applier) take(c *Cluster, r vote.Result) {
	q := c.Quorum
	q.Run, q.Phase = a.e.Index, PhaseNACK
	if q.Algorithm == vote.FFSplit && !r.Stable {
		q.Phase = PhaseWaiting
	}
	for i, n := range q.Connected() {
		n.Session.Want = r.Votes[i]
		if r.Votes[i] == vote.NACK {
			a.tell(n, vote.NACK)
			if !r.Fleeting[i] {
				n.Last = vote.NACK
			}
		}
	}
	if q.Phase == PhaseWaiting {
		return
	}
	if !slices.ContainsFunc(r.Votes, func(v vote.Vote) bool { return v == vote.ACK || v == vote.NACK }) {
		q.Phase = PhaseWaiting
		return
	}
	q.Selected = r.Selected
	a.decided(c)
	a.advance(c)
}

// castStrict runs lms for one client as the stock server does, on the values
// that were stored before its message.
func (a *applier) castStrict(c *Cluster, n *QuorumNode, before *vote.Ballot, ring vote.Ring) QnetdReply {
	q := c.Quorum
	i := slices.IndexFunc(before.Clients, func(x vote.Client) bool { return x.ID == n.ID })
	v, fleeting := vote.StrictLMS(before, i, ring)
	n.Session.Want = v
	if v == vote.WaitForReply {
		return QnetdReply{Vote: v}
	}
	if v == vote.NACK {
		a.tell(n, v)
		if !fleeting {
			n.Last = v
		}
	}
	q.Run, q.Phase = a.e.Index, PhaseNACK
	q.Selected = nil
	for _, m := range q.Connected() {
		if v == vote.ACK && m.Session.Want == vote.ACK && m.Session.Ring != n.Session.Ring {
			m.Session.Want, m.Last = vote.NACK, vote.NACK // the stock server lets both have it
			a.tell(m, vote.NACK)
		}
		if m.Session.Want == vote.ACK {
			q.Selected = append(append(q.Selected, m.ID), m.Session.Members...)
		}
	}
	slices.Sort(q.Selected)
	q.Selected = slices.Compact(q.Selected)
	a.decided(c)
	a.advance(c)
	return QnetdReply{Vote: vote.NoChange}
}

// tell gives a client a vote for the membership that it has now.
func (a *applier) tell(n *QuorumNode, v vote.Vote) {
	s := n.Session
	s.VoteSeq++
	s.Vote, s.VoteRing, s.Answered, s.Said = v, s.Ring, false, v
}

// decided notes that another partition shall have the vote.
func (a *applier) decided(c *Cluster) {
	q := c.Quorum
	if c.Holder == "" || slices.Equal(q.Selected, q.Partition) {
		return
	}
	to := "nobody"
	if len(q.Selected) > 0 {
		to = c.Spec.nodeNames(q.Selected)
	}
	kind := RunFailover
	if !slices.ContainsFunc(q.Partition, func(id uint32) bool { return !slices.Contains(q.Selected, id) }) {
		kind = RunHandover // nobody loses anything
	}
	a.startRun(c, Run{Kind: kind, From: c.Holder, To: to})
	a.phase(c, "decided", fmt.Sprintf("the vote of %s goes from %s to %s", c.Name, c.Holder, to))
}

// advance sends the ACKs of a run once nobody else may count one.
func (a *applier) advance(c *Cluster) {
	q := c.Quorum
	switch q.Phase {
	case PhaseIdle:
		if c.Holder != "" && !slices.ContainsFunc(q.Nodes, func(n QuorumNode) bool { return n.May }) {
			a.moveVote(c, nil)
		}
		return
	case PhaseNACK:
	default:
		return
	}
	if len(q.Withdrawing()) > 0 {
		return
	}
	q.Phase = PhaseACK
	for _, n := range q.Connected() {
		if n.Session.Want == vote.ACK {
			a.tell(n, vote.ACK)
			n.May, n.Gone, n.Last = true, nil, vote.ACK
		}
	}
	a.moveVote(c, q.Selected)
}

// moveVote makes a partition the holder; nil = nobody has the vote.
func (a *applier) moveVote(c *Cluster, to []uint32) {
	q := c.Quorum
	if slices.Equal(to, q.Partition) {
		if run := c.Current(); run != nil {
			a.phase(c, "kept", c.Holder+" keeps the vote of "+c.Name)
			a.endRun(c, RunCompleted, c.Holder)
		}
		return
	}
	from := q.Partition
	if c.Holder != "" {
		how := Release{Grade: GradeWithdrawn, Reason: "every loser has answered its NACK or is surely gone"}
		how.Epoch, how.Member, how.Index, how.At = c.Epoch, c.Holder, a.e.Index, a.s.Now
		c.Release = &how
		c.Last = c.Holder
	}
	c.Holder, q.Partition = "", to
	if len(to) == 0 {
		text := fmt.Sprintf("nobody has the vote of %s any more", c.Name)
		a.phase(c, "released", text)
		a.endRun(c, RunFailed, "")
		a.event(Event{Kind: "released", Level: LevelWarn, Cluster: c.Name, Epoch: c.Epoch, Text: text})
		return
	}
	c.Epoch++
	c.Holder, c.HolderSince, c.Last = c.Spec.nodeNames(to), a.s.Now, ""
	text := fmt.Sprintf("%s has the vote of %s with epoch %d", c.Holder, c.Name, c.Epoch)
	if lost := a.losers(c, from, to); lost != "" {
		text += "; " + lost + " lost it"
	}
	a.phase(c, "granted", text)
	a.endRun(c, RunCompleted, c.Holder)
	a.event(Event{Kind: "granted", Cluster: c.Name, Epoch: c.Epoch, Text: text})
}

// losers marks the nodes that had the vote and have it no more, and names them.
// One that left by itself did not lose it.
func (a *applier) losers(c *Cluster, from, to []uint32) string {
	q := c.Quorum
	var lost []uint32
	for i := range q.Nodes {
		n := &q.Nodes[i]
		switch {
		case slices.Contains(to, n.ID):
			n.Lost, n.Attempts, n.RetryAt = 0, 0, 0
		case slices.Contains(from, n.ID) && !n.Left:
			n.Lost, n.Attempts, n.RetryAt = c.Epoch, 0, 0
			lost = append(lost, n.ID)
		}
	}
	return c.Spec.nodeNames(lost)
}

// moving says whether the vote of a corosync cluster is on its way to somebody
// else: nobody is named as its holder then.
func moving(c *Cluster) bool {
	return c.Quorum != nil && (c.Quorum.Phase == PhaseNACK && !slices.Equal(c.Quorum.Selected, c.Quorum.Partition))
}

// Moving says whether the vote of a corosync cluster is being withdrawn from its
// holder.
func (c *Cluster) Moving() bool { return moving(c) }
