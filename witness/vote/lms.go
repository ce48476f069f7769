package vote

import "slices"

// lms gives the vote to the last man standing: the partition with the best
// score, or of equals the largest, or that of the tie breaker. Other than the
// stock server it uses the newest values of every client, a tie breaker that
// names a node means that node, and it is run after a disconnect as well.
func (b *Ballot) lms(r *Result) {
	if b.silent(r) {
		return
	}
	winner, parts := b.winner(r)
	r.Stable = true
	for i := range b.Clients {
		c := &b.Clients[i]
		switch {
		case b.waits(i, c.Ring):
			r.Stable = false
			r.Votes[i] = WaitForReply
			r.step("vote.stable", false, "node %d shares its membership with a node that is in another ring: one of them will see the change", c.ID)
		case parts > 0 && c.Ring == winner:
			r.Votes[i] = ACK
		case parts > 1 && b.newcomer(i, c.Ring):
			r.Votes[i], r.Fleeting[i] = NACK, true
			r.step("vote.newcomer", false, "node %d is new, and another partition has the vote", c.ID)
		case parts > 0:
			r.Votes[i] = NACK
		}
	}
	b.collect(r)
}

// silent lets everybody wait while a client has not told its membership: it does
// so in the same moment in which it connects.
func (b *Ballot) silent(r *Result) bool {
	i := slices.IndexFunc(b.Clients, func(c Client) bool { return len(c.Members) == 0 })
	if i < 0 {
		return false
	}
	for j := range r.Votes {
		r.Votes[j] = WaitForReply
	}
	r.step("vote.stable", false, "node %d has not told its membership yet", b.Clients[i].ID)
	return true
}

// collect sets what is selected: the nodes of the clients with an ACK.
func (b *Ballot) collect(r *Result) {
	for i := range b.Clients {
		if r.Votes[i] == ACK {
			r.Selected = append(append(r.Selected, b.Clients[i].ID), b.Clients[i].Members...)
		}
	}
	r.Selected = sorted(r.Selected)
	if len(r.Selected) == 0 {
		r.Selected = nil
		r.step("vote.selected", false, "no partition may have the vote now")
		return
	}
	r.step("vote.selected", true, "the partition of nodes %s is selected", list(r.Selected))
}

// waits says whether a client in ring shares a membership with one that is in
// another ring.
func (b *Ballot) waits(i int, ring Ring) bool {
	for j := range b.Clients {
		c, other := &b.Clients[i], &b.Clients[j]
		if i != j && other.Ring != ring && (slices.Contains(c.Members, other.ID) || slices.Contains(other.Members, c.ID)) {
			return true
		}
	}
	return false
}

// newcomer says whether a client never had a vote while one in another ring has.
func (b *Ballot) newcomer(i int, ring Ring) bool {
	if b.Clients[i].Last != None {
		return false
	}
	for j := range b.Clients {
		if i != j && b.Clients[j].Ring != ring && b.Clients[j].Last == ACK {
			return true
		}
	}
	return false
}

// partition is one ring with what speaks for it.
type partition struct {
	ring       Ring
	num, score int
}

func (b *Ballot) partitions() []partition {
	var parts []partition
	for i := range b.Clients {
		c := &b.Clients[i]
		if c.Ring.Seq == 0 {
			continue
		}
		k := slices.IndexFunc(parts, func(p partition) bool { return p.ring == c.Ring })
		if k < 0 {
			k = len(parts)
			parts = append(parts, partition{ring: c.Ring})
		}
		parts[k].num++
		parts[k].score++
		switch c.Heuristics {
		case Pass:
			parts[k].score++
		case Fail:
			parts[k].score--
		}
	}
	return parts
}

// leading returns the partitions with the highest value.
func leading(parts []partition, value func(partition) int) []partition {
	var out []partition
	for _, p := range parts {
		if len(out) > 0 && value(p) > value(out[0]) {
			out = out[:0]
		}
		if len(out) == 0 || value(p) == value(out[0]) {
			out = append(out, p)
		}
	}
	return out
}

// winner returns the ring that gets the vote, and how many rings there are.
func (b *Ballot) winner(r *Result) (Ring, int) {
	parts := b.partitions()
	switch len(parts) {
	case 0:
		r.step("vote.partitions", false, "no node has told a membership yet")
		return Ring{}, 0
	case 1:
		r.step("vote.partitions", true, "all %d connected nodes are in ring %s", parts[0].num, parts[0].ring)
		return parts[0].ring, 1
	}
	for _, p := range parts {
		r.step("vote.partitions", true, "ring %s has %d connected nodes and scores %d with their heuristics", p.ring, p.num, p.score)
	}
	count := len(parts)
	// Newcomers by themselves take nothing away: they get a NACK, and the stock
	// server lets those that have the vote keep it until these speak themselves.
	parts = slices.DeleteFunc(parts, func(p partition) bool {
		return !slices.ContainsFunc(b.Clients, func(c Client) bool { return c.Ring == p.ring && !b.newcomer(b.find(c.ID), c.Ring) })
	})
	if len(parts) == 0 { // they are new to one that has the vote, but is in no ring that counts
		return Ring{}, count
	}
	best := leading(parts, func(p partition) int { return p.score })
	if len(best) == 1 {
		r.step("vote.score", true, "ring %s has the best score", best[0].ring)
		return best[0].ring, count
	}
	best = leading(parts, func(p partition) int { return p.num })
	if len(best) == 1 {
		r.step("vote.active", true, "ring %s has the most connected nodes", best[0].ring)
		return best[0].ring, count
	}
	var ids []uint32
	for _, c := range b.Clients {
		if slices.ContainsFunc(parts, func(p partition) bool { return p.ring == c.Ring }) {
			ids = append(ids, c.ID)
		}
	}
	preferred := b.TieBreaker.among(ids)
	if !slices.Contains(ids, preferred) { // it is not connected, or new: the lowest one stands in
		preferred = slices.Min(ids)
	}
	ring := b.Clients[b.find(preferred)].Ring
	r.step("vote.tie-breaker", true, "the partitions are equal; the tie breaker is node %d in ring %s", preferred, ring)
	return ring, count
}

// StrictLMS is what stock corosync-qnetd decides for client i with the new ring,
// its faults included: all other values are those stored before, a tie breaker
// that names a node looks at the asking client, and the answer is for that
// client alone. fleeting is a NACK that is not to be remembered as its last.
func StrictLMS(b *Ballot, i int, ring Ring) (v Vote, fleeting bool) {
	if b.waits(i, ring) {
		return WaitForReply, false
	}
	parts := b.partitions()
	switch {
	case len(parts) == 0:
		return WaitForReply, false
	case len(parts) == 1:
		return ACK, false
	case b.newcomer(i, ring):
		return NACK, true
	}
	best := leading(parts, func(p partition) int { return p.score })
	if len(best) > 1 {
		best = leading(parts, func(p partition) int { return p.num })
	}
	if len(best) > 1 {
		k := len(b.Clients) - 1
		if b.TieBreaker.Mode != TieNode {
			var ids []uint32
			for j := range b.Clients {
				ids = append(ids, b.Clients[j].ID)
			}
			k = b.find(b.TieBreaker.among(ids))
		} else if b.Clients[i].ID == b.TieBreaker.Node {
			return ACK, false
		}
		if k == i {
			return ACK, false
		}
		best = []partition{{ring: b.Clients[k].Ring}}
	}
	if best[0].ring == ring {
		return ACK, false
	}
	return NACK, false
}

// twoNodes gives the vote to a pair that sees each other, to a lone node, or of
// two apart to the one with the better heuristics. Other than the stock server
// it waits while one of two connected nodes still sees the other.
func (b *Ballot) twoNodes(r *Result) {
	if b.silent(r) {
		return
	}
	r.Stable = true
	for i := range b.Clients {
		c := &b.Clients[i]
		k := slices.IndexFunc(b.Clients, func(o Client) bool { return o.ID != c.ID })
		switch {
		case b.waits(i, c.Ring):
			r.Stable = false
			r.Votes[i] = WaitForReply
			r.step("vote.stable", false, "node %d and the other do not see the same membership yet", c.ID)
		case k >= 0 && b.newcomer(i, c.Ring):
			r.Votes[i], r.Fleeting[i] = NACK, true
			r.step("vote.newcomer", false, "node %d is new, and the other one has the vote", c.ID)
		case len(c.Members) == 2:
			r.Votes[i] = ACK
			r.step("vote.majority", true, "node %d sees both nodes", c.ID)
		case k < 0:
			r.Votes[i] = ACK
			r.step("vote.active", true, "node %d is the only one connected", c.ID)
		case b.newcomer(k, b.Clients[k].Ring): // it is refused, and takes nothing away
			r.Votes[i] = ACK
		default:
			r.Votes[i] = b.duel(r, c, &b.Clients[k])
		}
	}
	b.collect(r)
}

// rank orders heuristics: pass, undefined, fail.
func (h Heuristics) rank() int { return [...]int{1, 2, 0}[min(h, 2)] }

// duel decides between two nodes that do not see each other, for the first.
func (b *Ballot) duel(r *Result, c, other *Client) Vote {
	ok := c.Heuristics.rank() > other.Heuristics.rank()
	if c.Heuristics.rank() == other.Heuristics.rank() {
		preferred := b.TieBreaker.among([]uint32{c.ID, other.ID})
		ok = preferred == c.ID
		r.step("vote.tie-breaker", ok, "the nodes are apart and equal; the tie breaker is node %d", preferred)
	} else {
		r.step("vote.score", ok, "the nodes are apart; the heuristics of node %d are %s, of node %d %s", c.ID, c.Heuristics, other.ID, other.Heuristics)
	}
	if ok {
		return ACK
	}
	return NACK
}
