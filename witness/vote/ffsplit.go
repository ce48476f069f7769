package vote

import (
	"fmt"
	"slices"
)

// ffsplit gives the vote to a majority, and of equal halves to the better one.
// Other than the stock server it scores with the newest heuristics of every
// client, and a client that has left counts no more.
func (b *Ballot) ffsplit(r *Result) {
	if why := b.unstable(); why != "" {
		for i := range r.Votes {
			r.Votes[i] = WaitForReply
		}
		r.step("vote.stable", false, "%s", why)
		return
	}
	r.Stable = true
	r.step("vote.stable", true, "all connected nodes agree on the configuration, and on the membership that they share")
	best := -1
	for i := range b.Clients {
		better, rule, why := b.better(i, best)
		if best < 0 || !b.same(i, best) {
			r.step(rule, better, "%s", why)
		}
		if better {
			best = i
		}
	}
	if best < 0 {
		r.step("vote.selected", false, "no partition may have the vote")
	} else {
		r.Selected = sorted(b.Clients[best].Members)
		r.step("vote.selected", true, "the partition of nodes %s is selected", list(r.Selected))
	}
	for i := range b.Clients {
		r.Votes[i] = NACK
		if slices.Contains(r.Selected, b.Clients[i].ID) {
			r.Votes[i] = ACK
		}
	}
}

// unstable says why nothing can be decided yet, or "".
//
// The stock server asks this only once the client that spoke last has told its
// membership, and gives a NACK to others that have not. Here a connection alone
// leads to a vote; it must not cost a node the vote that it takes along.
func (b *Ballot) unstable() string {
	for i := range b.Clients {
		x := &b.Clients[i]
		if len(x.Config) == 0 || len(x.Members) == 0 {
			return fmt.Sprintf("node %d has not told its configuration and its membership yet", x.ID)
		}
		for j := range b.Clients {
			y := &b.Clients[j]
			if i != j && !subset(x.Config, y.Config) {
				return fmt.Sprintf("node %d is configured with nodes %s, node %d with %s: they must be the same", x.ID, list(x.Config), y.ID, list(y.Config))
			}
			if i != j && slices.Contains(x.Members, y.ID) && (x.Ring != y.Ring || !subset(x.Members, y.Members)) {
				return fmt.Sprintf("node %d sees node %d in its membership %s (nodes %s), but that one is in %s (nodes %s): one of them will see the change",
					x.ID, y.ID, x.Ring, list(x.Members), y.Ring, list(y.Members))
			}
		}
	}
	return ""
}

// same says whether two clients are in the same partition.
func (b *Ballot) same(i, j int) bool { return slices.Equal(b.Clients[i].Members, b.Clients[j].Members) }

// score counts the connected nodes of a client's partition and their heuristics.
func (b *Ballot) score(i int) (score, active int) {
	if i < 0 {
		return 0, 0
	}
	for j := range b.Clients {
		if !slices.Contains(b.Clients[i].Members, b.Clients[j].ID) {
			continue
		}
		active++
		switch b.Clients[j].Heuristics {
		case Pass:
			score++
		case Fail:
			score--
		}
	}
	return score + active, active
}

// better says whether the partition of client i is to be preferred to that of
// the best client so far (-1 = none), by which rule and why.
func (b *Ballot) better(i, best int) (bool, string, string) {
	c := &b.Clients[i]
	n, half := len(c.Members), len(c.Config)/2
	part := "the partition of nodes " + list(c.Members)
	if len(c.Config)%2 == 1 || n != half {
		return n > half, "vote.majority", fmt.Sprintf("%s has %d of %d configured nodes", part, n, len(c.Config))
	}
	score, active := b.score(i)
	bestScore, bestActive := b.score(best)
	switch {
	case score != bestScore:
		return score > bestScore, "vote.score", fmt.Sprintf("%s is one half and scores %d (connected nodes and heuristics), the other %d", part, score, bestScore)
	case active != bestActive:
		return active > bestActive, "vote.active", fmt.Sprintf("%s is one half and has %d connected nodes, the other %d", part, active, bestActive)
	}
	if best >= 0 && !slices.ContainsFunc(b.Clients, func(c Client) bool { return !c.KeepActive }) {
		mine, other := slices.Contains(b.Selected, c.ID), slices.Contains(b.Selected, b.Clients[best].ID)
		if mine != other {
			return mine, "vote.keep-active", fmt.Sprintf("%s is one half as good as the other; the vote was with nodes %s and stays there", part, list(b.Selected))
		}
	}
	preferred := b.TieBreaker.among(c.Config)
	ok := slices.Contains(c.Members, preferred)
	return ok, "vote.tie-breaker", fmt.Sprintf("%s is one half as good as the other; the tie breaker is node %d", part, preferred)
}

// list writes node ids as corosync-qnetd-tool does.
func list(ids []uint32) string {
	if len(ids) == 0 {
		return "(none)"
	}
	out := ""
	for i, id := range ids {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprint(id)
	}
	return out
}
