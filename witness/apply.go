package witness

import (
	"fmt"
	"hash/fnv"

	"quorate/witness/kv"
)

// Apply returns the state after e, the answer for whoever proposed it, and the
// events that it caused. It is deterministic and never changes s. An entry
// that breaks a safety rule of the state machine itself makes it panic: a
// witness that stops is safer than one that goes on wrongly.
func (s *State) Apply(e Entry) (*State, Result, []Event) {
	next := *s
	a := &applier{s: &next, e: e}
	next.Index, next.Term = e.Index, e.Term
	next.Now = max(s.Now, e.Stamp.Time)
	next.Wall = e.Stamp.Wall
	a.res.Index = e.Index
	a.dispatch()
	if next.DNSIndex != s.DNSIndex {
		next.DNSWall = next.Wall
	}
	a.res.Revision = next.KV.Revision()
	next.digest = a.mix(s.digest)
	return &next, a.res, a.events
}

// applier builds the next state. Its methods change a.s, which nobody else
// sees yet, and replace, never modify, what a.s points to.
type applier struct {
	s      *State
	e      Entry
	res    Result
	events []Event
	extra  []byte // what the digest has to see beyond the key space and the events
}

func (a *applier) dispatch() {
	switch c := a.e.Cmd.(type) {
	case Bootstrap:
		if a.s.ClusterID == 0 {
			a.s.ClusterID = c.ClusterID
			a.event(Event{Kind: "bootstrap", Text: fmt.Sprintf("witness cluster %016x is born", c.ClusterID)})
		}
	case Txn:
		a.txn(c)
	case LeaseGrant:
		a.leaseGrant(c)
	case LeaseRevoke:
		a.leaseRevoke(c)
	case LeaseExpire:
		a.leaseExpire(c)
	case LeaseCheckpoint:
		a.checkpoint(c)
	case Compact:
		next, err := a.s.KV.Compact(c.Rev)
		if err != nil {
			a.res.Err = kvError(err)
			return
		}
		a.s.KV = next
	case Configure:
		a.configure(c)
	case Observe:
		a.observe(c)
	case RequestCmd:
		a.request(c.Request)
	case NodeKey, DataKey, SealKey, Reseal:
		a.secrets(c)
	case Approve:
		a.approve(c)
	case PlanCmd:
		a.plan(c.Plan)
	case Finished:
		a.finished(c)
	case RefreshDNS:
		a.s.DNSIndex = a.e.Index
	case Touch:
	default:
		panic(fmt.Sprintf("witness: entry %d has command %T, which this version does not know", a.e.Index, a.e.Cmd))
	}
}

// event records something that happened; cluster, host and text are its own.
func (a *applier) event(ev Event) {
	if ev.Level == "" {
		ev.Level = LevelInfo
	}
	ev.Text = text([]byte(ev.Text))
	a.s.eventSeq++
	ev.Seq, ev.Index, ev.At, ev.Wall = a.s.eventSeq, a.e.Index, a.s.Now, a.s.Wall
	a.s.events = a.s.events.Set(ev.Seq, &ev)
	if ev.Seq > keepEvents {
		a.s.events = a.s.events.Delete(ev.Seq - keepEvents)
	}
	a.events = append(a.events, ev)
}

// put publishes a changed copy of a cluster. decision marks changes that a
// pending decision must not ignore: they make plans for the old version stale.
func (a *applier) put(c *Cluster, decision bool) {
	old := a.s.Cluster(c.Name)
	if decision {
		c.Version = a.e.Index
	}
	assertStep(old, c)
	if old == nil || !sameAnswers(old, c) {
		a.s.DNSIndex = a.e.Index
	}
	a.s.clusters = a.s.clusters.Set(c.Name, c)
	a.attend(c)
}

// attend keeps the list of clusters that Decide has to look at.
func (a *applier) attend(c *Cluster) {
	need := c.Guard != nil || c.Overdue != nil
	for i := 0; !need && i < len(c.Spec.Members); i++ {
		for _, sig := range a.s.Host(c.Spec.Members[i].Host).Signals {
			need = need || sig.Down
		}
	}
	_, has := a.s.attn.Get(c.Name)
	switch {
	case need && !has:
		a.s.attn = a.s.attn.Set(c.Name, struct{}{})
	case !need && has:
		a.s.attn = a.s.attn.Delete(c.Name)
	}
}

// copyOf returns a copy of a cluster that may be changed and put back.
func (a *applier) copyOf(name string) *Cluster {
	c := *a.s.Cluster(name)
	return &c
}

// sameAnswers says whether two versions of a cluster give the same DNS answers.
func sameAnswers(x, y *Cluster) bool {
	if x.Holder != y.Holder || x.Last != y.Last || (x.Guard == nil) != (y.Guard == nil) || x.Epoch != y.Epoch ||
		len(x.Members) != len(y.Members) {
		return false
	}
	for i := range x.Members {
		m, n := &x.Members[i], &y.Members[i]
		if m.Name != n.Name || m.Healthy() != n.Healthy() || m.Role != n.Role || m.ConnURL != n.ConnURL {
			return false
		}
	}
	return true
}

// commit makes next the key space and lets the clusters see what changed. how
// says under which grade a leader key that is now gone was given up.
func (a *applier) commit(next *kv.Store, evs []kv.Event, how Release) {
	a.s.KV = next
	for i := range evs {
		if name, rest := a.s.bound(string(evs[i].KV.Key)); name != "" {
			a.keyChanged(name, rest, &evs[i], how)
		}
	}
}

// mix folds this entry into the rolling fingerprint.
func (a *applier) mix(digest uint64) uint64 {
	h := fnv.New64a()
	var buf [48]byte
	put := func(i int, v uint64) {
		for b := range 8 {
			buf[8*i+b] = byte(v >> (8 * b))
		}
	}
	put(0, digest)
	put(1, a.e.Index)
	put(2, a.s.KV.Digest())
	put(3, a.s.eventSeq)
	put(4, uint64(a.s.Now))
	put(5, a.s.DNSIndex)
	_, _ = h.Write(buf[:])
	_, _ = h.Write(a.extra)
	for i := range a.events {
		_, _ = h.Write([]byte(a.events[i].Text))
	}
	return h.Sum64()
}
