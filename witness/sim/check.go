package sim

import (
	"time"

	"quorate/witness"
)

// commit makes an entry part of the one log. The first witness that learns of
// it applies it for all, and what it changed is compared with the truth.
func (w *world) commit(index int, e *entry) {
	if index < len(w.committed) {
		if w.committed[index] != e {
			w.violation("two different entries are committed as number %d", index+1)
		}
		return
	}
	prev := w.prev
	next, res, events := prev.Apply(witness.Entry{Index: uint64(index + 1), Term: e.term, Stamp: e.stamp, Cmd: e.cmd})
	e.res = res
	w.committed = append(w.committed, e)
	if w.opt.Trace != nil {
		w.traceEntry(e, events)
	}
	for _, v := range witness.Violations(prev, next) {
		w.violation("%s", v)
	}
	switch cmd := e.cmd.(type) {
	case witness.LeaseExpire:
		w.checkExpiry(prev, e, cmd)
	case witness.PlanCmd:
		if res.Err == nil {
			w.checkPlan(prev, &cmd.Plan)
		}
	case witness.LeaseGrant:
		if lease, ok := next.KV.Lease(cmd.ID); ok && res.Err == nil {
			w.acked[lifeOfLease{cmd.ID, lease.Epoch}] = w.now
		}
	}
	for _, c := range w.clusters {
		w.checkCluster(c, prev.Cluster(c.name), next.Cluster(c.name))
	}
	e.after, w.prev = next, next
}

func (w *world) traceEntry(e *entry, events []witness.Event) {
	w.trace("entry %d, term %d: %s", len(w.committed), e.term, witness.Kind(e.cmd))
	if e.res.Err != nil {
		w.trace("    %s: %s", e.res.Err.Code, e.res.Err)
	}
	for _, ev := range events {
		w.trace("    %s: %s", ev.Kind, ev.Text)
	}
}

// checkExpiry: a lease that was granted or renewed at t lives until t + TTL.
func (w *world) checkExpiry(prev *witness.State, e *entry, cmd witness.LeaseExpire) {
	if cmd.Term != e.term {
		return // void
	}
	for i, id := range cmd.IDs {
		lease, ok := prev.KV.Lease(id)
		if !ok || lease.Dead || i < len(cmd.Epochs) && cmd.Epochs[i] != lease.Epoch {
			continue
		}
		key := lifeOfLease{id, lease.Epoch}
		w.expired[key] = true
		if at, ok := w.acked[key]; ok && w.now < at+ttlOf(lease) {
			w.violation("lease %d ends %s early", id, at+ttlOf(lease)-w.now)
		}
	}
}

// checkRenewal: a renewal is acknowledged only while a majority followed the
// witness at most one election timeout ago, and never of a lease that has ended.
func (w *world) checkRenewal(n *node, key lifeOfLease, proven bool, start time.Duration) {
	switch {
	case w.expired[key]:
		w.violation("%s acknowledges the renewal of lease %d, which has ended", n.name, key.id)
	case !proven:
		w.violation("%s acknowledges the renewal of lease %d without a majority behind it", n.name, key.id)
	case w.now-start > electionTimeout:
		w.violation("%s acknowledges the renewal of lease %d %s after it proved that it leads", n.name, key.id, w.now-start)
	}
	w.acked[key] = w.now
}

// checkCluster compares a release and a grant with what is really the case.
func (w *world) checkCluster(c *cluster, old, next *witness.Cluster) {
	if old == nil || next == nil || old == next || !c.guarded {
		return
	}
	if old.Release != next.Release && next.Release != nil {
		rev := int64(0)
		if leader := w.prev.KV.Get(c.prefix + "leader"); leader != nil {
			rev = leader.ModRevision
		}
		w.checkReleased(c, next.Release, rev)
	}
	if next.Epoch > old.Epoch {
		w.report.Grants++
		for _, m := range c.members {
			if m.writing && m.name != next.Holder && m != c.late {
				w.violation("%s is granted to %s with epoch %d while %s writes", c.name, next.Holder, next.Epoch, m.name)
			}
		}
	}
	if next.Guard != nil && next.Guard.Held != "" && (old.Guard == nil || old.Guard.Held != next.Guard.Held) {
		w.report.Held++
	}
}

// checkReleased: whoever is released does not write any more.
//
// One case is known and counted instead: a member asked for its leader key to
// be deleted, got no answer, and went on as leader, as Patroni does; the
// request then took effect late. Its compare still held, so nobody can tell.
// See "Known limits" in docs/simulator.md.
func (w *world) checkReleased(c *cluster, r *witness.Release, rev int64) {
	if r.Grade == witness.GradeObserved || r.Grade == witness.GradeFeeds {
		w.report.Fences++
	}
	if r.Grade == witness.GradeFeeds {
		w.report.ByFeeds++
	}
	for _, m := range c.members {
		if m.name == r.Member && m.armed && r.Grade == witness.GradeClean && m.givenUp == rev {
			w.report.LateGiveUps++
			c.late = m
			continue
		}
		if m.name == r.Member && m.writing {
			w.violation("%s is released from %s as %s while it writes", m.name, c.name, r.Grade)
		}
	}
}

// checkWriters: two members of a cluster never write at one time.
func (w *world) checkWriters(c *cluster) {
	if c.late != nil && !c.late.armed {
		c.late = nil
	}
	var writers []string
	for _, m := range c.members {
		if m.writing && m != c.late {
			writers = append(writers, m.name)
		}
	}
	if len(writers) > 1 && c.guarded {
		w.violation("split brain: %v of %s write at the same time", writers, c.name)
	}
}

// followed says whether a majority hears a witness and knows of no later term.
func (w *world) followed(n *node) bool {
	count := 0
	for _, m := range w.nodes {
		if w.hears(n, m) && m.term <= n.term {
			count++
		}
	}
	return count >= w.quorum()
}

// checkEntitled: nothing is executed by a witness that a majority does not
// follow, unless one that it follows has assigned it.
func (w *world) checkEntitled(n *node, a *witness.Action) {
	if a.Executor == "" && !w.followed(n) {
		w.violation("%s executes %s of %s without a majority behind it", n.name, a.Kind, a.Host)
	}
}

// settled says whether every cluster has a holder that really writes.
func (w *world) settled() bool {
	for _, c := range w.clusters {
		st := w.prev.Cluster(c.name)
		if st.Holder == "" || st.Guard != nil {
			return false
		}
		for _, m := range c.members {
			if m.name == st.Holder && !m.writing {
				return false
			}
		}
	}
	return true
}

// explainUnsettled reports every cluster that has no holder long after
// everything was healed, with what the leader says about it.
func (w *world) explainUnsettled() {
	l := w.leader()
	if l == nil {
		w.violation("%s after everything was healed no witness leads", settleTime)
		return
	}
	for _, c := range w.clusters {
		ver := witness.Judge(l.view(), c.name)
		st := w.prev.Cluster(c.name)
		w.violation("%s after everything was healed %s has holder %q, guard %+v; the leader says [%s] %s", settleTime, c.name, st.Holder, st.Guard, ver.Decisive, ver.Sentence)
	}
}
