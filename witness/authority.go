package witness

import "fmt"

// votes says, for each kind of cluster, whether a host of a cluster is on the
// side that holds its vote now. A power-off that a member asks for is allowed
// to that side alone: then there is no fence race, and whoever lost cannot
// shoot whoever won. A kind that is not in the table may not ask.
var votes = map[string]func(s *State, c *Cluster, host string) (holds bool, text string){
	KindPatroni:  patroniVote,
	KindCorosync: corosyncVote,
}

// patroniVote: the vote is the leader key, so it is with the host of the holder
// as long as the holder's lease is alive.
func patroniVote(_ *State, c *Cluster, host string) (bool, string) {
	switch {
	case c.Holder == "":
		return false, fmt.Sprintf("nobody holds %s now", c.Name)
	case c.HolderHost != host:
		return false, fmt.Sprintf("%s holds %s, not %s", c.HolderHost, c.Name, host)
	case c.Guard != nil:
		return false, fmt.Sprintf("the lease of %s, which held %s, is dead", host, c.Name)
	}
	return true, fmt.Sprintf("%s holds %s", host, c.Name)
}

// requesterHost returns the host on whose behalf a program asks. It may be
// named as a host, by an address, or as a member of the target's cluster.
func (s *State) requesterHost(name, target string) (string, bool) {
	if s.hostSpec[name] != nil {
		return name, true
	}
	if h, ok := s.hostAddr[name]; ok {
		return h, true
	}
	if ref, ok := s.members[target]; ok {
		if m := s.Cluster(ref.cluster).Spec.Member(name); m != nil {
			return m.Host, true
		}
	}
	return "", false
}

// ruleVote: may the side that asks have this host powered off or on? It cannot
// be overridden by the side that it is about.
func ruleVote(s *State, r *Request) (bool, Finding) {
	ok, text := judgeVote(s, r)
	return ok, Finding{Rule: "fence.vote", Verdict: verdict(ok), Inputs: "requester=" + r.Requester, Text: text}
}

func judgeVote(s *State, r *Request) (bool, string) {
	host, known := s.requesterHost(r.Requester, r.Host)
	switch {
	case !known:
		return false, fmt.Sprintf("%q, on whose behalf this is asked, is no declared host, address or member: declare it, or ask in your own name", r.Requester)
	case s.Host(host).Fenced:
		return false, fmt.Sprintf("%s is fenced itself, so it asks for nothing", host)
	}
	own, isMember := s.members[host]
	target, aims := s.members[r.Host]
	switch {
	case aims && (!isMember || own.cluster != target.cluster):
		return false, fmt.Sprintf("%s is no member of %s, to which %s belongs, and has no say in it", host, target.cluster, r.Host)
	case !isMember:
		return true, fmt.Sprintf("neither %s nor %s belongs to a cluster: there is no vote to hold", host, r.Host)
	}
	c := s.Cluster(own.cluster)
	holds := votes[c.Spec.Kind]
	if holds == nil {
		return false, fmt.Sprintf("nothing says who holds the vote of %s, a cluster of kind %s", c.Name, c.Spec.Kind)
	}
	ok, text := holds(s, c, host)
	if !ok {
		text = fmt.Sprintf("%s does not hold the vote of %s (%s): the side without the vote powers nobody off", host, c.Name, text)
	}
	return ok, text
}

// Moot says why a power-off that is pending must not be begun any more, or "": the
// vote may have moved while its executor was away. Its cause is gone if nobody
// asked for it and the node has the vote again, or if everybody who asked for it
// has lost the vote.
func Moot(s *State, a *Action) string {
	if a.Kind != ActionFenceOff {
		return ""
	}
	if a.Request == 0 {
		if c := s.Cluster(a.Cluster); c != nil && c.Quorum != nil {
			return notLost(c, a.Host)
		}
		return ""
	}
	why := ""
	for id := range s.open.All() {
		if r := s.Request(id); r.Action == a.ID {
			ok, text := true, ""
			if r.Requester != "" {
				ok, text = judgeVote(s, r)
			}
			if ok {
				return ""
			}
			why = text
		}
	}
	return why
}
