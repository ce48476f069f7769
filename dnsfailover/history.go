package dnsfailover

import (
	"cmp"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// history is how a zone came to what it is, for incremental transfers (RFC 1995).
// It is kept in memory: after a restart, secondaries take the zone as a whole once.
type history struct {
	steps []step // oldest first
	size  int    // records in all of them
}

// step is one change of a zone.
type step struct {
	from, to       *dns.SOA
	removed, added []dns.RR
}

// How much history is kept for a zone.
const (
	maxSteps   = 200
	maxChanged = 20_000 // records
)

// records returns all records of a zone that a secondary gets, SOA first: what a
// node in touch with the quorum answers.
func (z *zoneIndex) records() []dns.RR {
	names := make([]string, 0, len(z.nodes))
	for name := range z.nodes {
		names = append(names, name)
	}
	slices.SortFunc(names, compareNames)
	soa := z.nodes[z.apex].find(dns.TypeSOA)
	out := append(soa.rrs[:1:1], soa.sigs...)
	for _, name := range names {
		for _, s := range z.nodes[name].sets {
			if s.typ == dns.TypeSOA || s.broken {
				continue
			}
			rrs, sigs := s.rrs, s.sigs
			if len(rrs) == 0 && s.whenEmpty == PolicyFixed {
				rrs, sigs = s.fallback, s.fallbackSigs
			}
			out = append(append(out, rrs...), sigs...)
		}
	}
	return out
}

func (z *zoneIndex) soa() *dns.SOA {
	return z.nodes[z.apex].find(dns.TypeSOA).rrs[0].(*dns.SOA)
}

// then returns the history of a zone that changes from one state to another.
func (h *history) then(from, to *zoneIndex) *history {
	next := &history{}
	if h != nil {
		*next = *h
	}
	if from.soa().Serial == to.soa().Serial {
		return next
	}
	st := step{from: from.soa(), to: to.soa()}
	st.removed, st.added = difference(from.records()[1:], to.records()[1:])
	next.steps = append(slices.Clone(next.steps), st)
	next.size += len(st.removed) + len(st.added)
	for len(next.steps) > maxSteps || next.size > maxChanged {
		next.size -= len(next.steps[0].removed) + len(next.steps[0].added)
		next.steps = next.steps[1:]
	}
	return next
}

// difference returns what has to go and what has to come. A record whose TTL
// changes does both.
func difference(old, new []dns.RR) (removed, added []dns.RR) {
	byText := func(rrs []dns.RR) ([]dns.RR, []string) {
		type pair struct {
			rr   dns.RR
			text string
		}
		pairs := make([]pair, len(rrs))
		for i, rr := range rrs {
			pairs[i] = pair{rr, rr.String()}
		}
		slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.text, b.text) })
		sorted, texts := make([]dns.RR, len(rrs)), make([]string, len(rrs))
		for i, p := range pairs {
			sorted[i], texts[i] = p.rr, p.text
		}
		return sorted, texts
	}
	oldRRs, oldText := byText(old)
	newRRs, newText := byText(new)
	i, j := 0, 0
	for i < len(oldRRs) || j < len(newRRs) {
		order := 0
		switch {
		case i == len(oldRRs):
			order = 1
		case j == len(newRRs):
			order = -1
		default:
			order = strings.Compare(oldText[i], newText[j])
		}
		switch {
		case order < 0:
			removed = append(removed, oldRRs[i])
			i++
		case order > 0:
			added = append(added, newRRs[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	return removed, added
}

// since returns the changes from a serial on, as RFC 1995 section 4 orders them;
// ok is false if the history does not reach that far.
func (h *history) since(serial uint32) (rrs []dns.RR, ok bool) {
	if h == nil {
		return nil, false
	}
	begin := slices.IndexFunc(h.steps, func(s step) bool { return s.from.Serial == serial })
	if begin < 0 {
		return nil, false
	}
	for _, s := range h.steps[begin:] {
		rrs = append(rrs, s.from)
		rrs = append(rrs, s.removed...)
		rrs = append(rrs, s.to)
		rrs = append(rrs, s.added...)
	}
	return rrs, true
}
