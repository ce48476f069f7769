package witness

import (
	"fmt"
	"sort"
)

// observe takes the edges that a witness saw into the state.
func (a *applier) observe(o Observe) {
	for _, item := range o.Items {
		if item.Kind == SignalRenewal {
			a.observeRenewal(o.Witness, item)
			continue
		}
		switch {
		case a.s.hostSpec[item.Host] == nil:
		case item.Kind == SignalFence:
			a.observePath(o.Witness, item)
		default:
			a.observeHost(o.Witness, item)
		}
	}
}

// observeRenewal notes that the leader misses, or got, the holder's renewal.
func (a *applier) observeRenewal(from string, item Observation) {
	c := a.s.Cluster(item.Cluster)
	if c == nil || c.Holder == "" || item.Down == (c.Overdue != nil) {
		return
	}
	c = a.copyOf(item.Cluster)
	c.Overdue = nil
	if item.Down {
		c.Overdue = &Signal{Kind: SignalRenewal, Witness: from, Down: true, Since: a.s.Now, Index: a.e.Index, At: a.s.Now, Term: a.e.Term, Detail: item.Detail}
	} else {
		c.Would = 0
	}
	a.event(Event{Kind: "signal", Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Text: signalText(from, item)})
	a.put(c, true)
}

func (a *applier) observeHost(from string, item Observation) {
	old := a.s.Host(item.Host)
	h := *old
	h.Signals = append([]Signal(nil), old.Signals...)
	i := sort.Search(len(h.Signals), func(i int) bool {
		s := &h.Signals[i]
		return s.Kind > item.Kind || s.Kind == item.Kind && s.Witness >= from
	})
	sig := Signal{Kind: item.Kind, Witness: from, Down: item.Down, Since: a.s.Now, Index: a.e.Index, At: a.s.Now, Term: a.e.Term, Detail: item.Detail}
	edge := true
	if i < len(h.Signals) && h.Signals[i].Kind == item.Kind && h.Signals[i].Witness == from {
		if h.Signals[i].Down == item.Down {
			sig.Since, sig.Index, edge = h.Signals[i].Since, h.Signals[i].Index, false
		}
		h.Signals[i] = sig
	} else {
		h.Signals = append(h.Signals, Signal{})
		copy(h.Signals[i+1:], h.Signals[i:])
		h.Signals[i] = sig
		edge = item.Down
	}
	a.s.hosts = a.s.hosts.Set(item.Host, &h)
	ref, ok := a.s.members[item.Host]
	if !ok {
		return
	}
	c := a.copyOf(ref.cluster)
	if edge {
		if !item.Down && c.Holder == ref.member {
			c.Would = 0
		}
		a.event(Event{Kind: "signal", Cluster: ref.cluster, Host: item.Host, Epoch: c.Epoch, Text: signalText(from, item)})
	}
	a.put(c, edge)
}

func signalText(from string, item Observation) string {
	subject, verb := item.Host+item.Cluster, "up"
	if item.Down {
		verb = "down"
	}
	return fmt.Sprintf("%s: %s of %s is %s (%s)", from, item.Kind, subject, verb, item.Detail)
}
