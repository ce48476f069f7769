package witness

import (
	"fmt"
	"slices"

	"quorate/witness/vote"
)

// quorumFaults returns what is wrong with the vote of a corosync cluster.
func quorumFaults(c *Cluster) []string {
	var out []string
	q := c.Quorum
	if (c.Holder != "") != (len(q.Partition) > 0) {
		out = append(out, fmt.Sprintf("%s has the holder %q and the partition %v", c.Name, c.Holder, q.Partition))
	}
	for i := range q.Nodes {
		n := &q.Nodes[i]
		if n.Session == nil {
			if n.May != (n.Gone != nil) {
				out = append(out, fmt.Sprintf("node %d of %s is gone: may=%t, but nobody waits for its end", n.ID, c.Name, n.May))
			}
			continue
		}
		if n.Session.Vote == vote.ACK && !n.May {
			out = append(out, fmt.Sprintf("node %d of %s has an ACK that is not counted", n.ID, c.Name))
		}
		if q.Phase == PhaseACK && n.Session.Want == vote.ACK && !slices.Contains(q.Partition, n.ID) {
			out = append(out, fmt.Sprintf("node %d of %s has an ACK outside the partition %v", n.ID, c.Name, q.Partition))
		}
	}
	return out
}

// quorumStepFault returns what is wrong with a step of a corosync cluster, or "":
// no ACK may go out while somebody of another partition may still count one.
func quorumStepFault(old, next *Cluster) string {
	if old == nil || old.Quorum == nil || next.Quorum == nil {
		return ""
	}
	for i := range next.Quorum.Nodes {
		n := &next.Quorum.Nodes[i]
		if n.Session == nil || n.Session.Vote != vote.ACK {
			continue
		}
		before := old.Quorum.Node(n.ID)
		if before != nil && before.Session != nil && before.Session.Index == n.Session.Index && before.Session.VoteSeq == n.Session.VoteSeq {
			continue // an ACK of before
		}
		for j := range next.Quorum.Nodes {
			m := &next.Quorum.Nodes[j]
			if m.May && (m.Session == nil || m.Session.Vote != vote.ACK) {
				return fmt.Sprintf("node %d of %s is told ACK while node %d may still count one", n.ID, next.Name, m.ID)
			}
			if s := m.Session; s != nil && s.Want == vote.NACK && (s.Vote != vote.NACK || !s.Answered) {
				return fmt.Sprintf("node %d of %s is told ACK before node %d has answered its NACK", n.ID, next.Name, m.ID)
			}
		}
	}
	return ""
}
