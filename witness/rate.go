package witness

import (
	"fmt"
	"time"
)

// How often one host may be powered off within a window, unless the policy of
// its cluster says otherwise. Retries of one power-off count once.
const (
	askedLimit     = 3  // of orders by people and programs
	automaticLimit = 10 // counting those of the witnesses themselves too
	rateWindow     = 10 * time.Minute
	keepOffs       = 64
)

// ruleRate: has the host been powered off too often lately? It ends death
// matches: a machine that boots, asks, and is shot again.
func ruleRate(s *State, now Time, host string, asked bool) (bool, Finding) {
	limit, window := automaticLimit, rateWindow
	if asked {
		limit = askedLimit
	}
	if ref, ok := s.members[host]; ok {
		spec := s.Cluster(ref.cluster).Spec
		if spec.FenceLimit > 0 {
			limit = spec.FenceLimit
		}
		if spec.FenceWindow > 0 {
			window = min(Time(spec.FenceWindow), maxWait)
		}
	}
	n := 0
	for _, at := range s.Host(host).Offs {
		if now-at < window {
			n++
		}
	}
	ok := n < limit
	return ok, Finding{
		Rule: "fence.rate", Verdict: verdict(ok), Inputs: fmt.Sprintf("offs=%d limit=%d window=%s", n, limit, window),
		Text: fmt.Sprintf("%s was powered off %d times in %s; %d are allowed", host, n, window, limit),
	}
}

// countOff notes that a power-off of a host begins. The next attempt of a guard
// that had no proof, and an action that changes hands, begin nothing new.
func (a *applier) countOff(item *PlanItem) {
	if item.Kind != ActionFenceOff || item.Replaces != "" {
		return
	}
	if c := a.s.guardOf(item.Host); c != nil && c.Guard.Attempts > 0 {
		return
	}
	if ref, ok := a.s.members[item.Host]; ok {
		if c := a.s.Cluster(ref.cluster); c.Quorum != nil {
			if n := c.Quorum.Node(c.Spec.Member(ref.member).Node); n != nil && n.Attempts > 0 {
				return
			}
		}
	}
	h := *a.s.Host(item.Host)
	offs := append([]Time(nil), h.Offs...)
	h.Offs = append(offs[max(0, len(offs)-keepOffs+1):], a.s.Now)
	a.s.hosts = a.s.hosts.Set(item.Host, &h)
}

// offPending counts the other hosts of a cluster that are being powered off.
func offPending(s *State, c *Cluster, host string) int {
	n := 0
	for id := range s.waiting.All() {
		a := s.Action(id)
		if ref, ok := s.members[a.Host]; ok && ref.cluster == c.Name && a.Kind == ActionFenceOff && a.Host != host && !s.Host(a.Host).Fenced {
			n++
		}
	}
	return n
}
