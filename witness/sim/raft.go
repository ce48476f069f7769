package sim

import (
	"time"

	"quorate/witness"
)

// electionTimeout is that of every witness.
const electionTimeout = time.Second

// entry is one place in a log. Two logs hold the same entry when they hold the
// same pointer.
type entry struct {
	term  uint64
	stamp witness.Stamp
	cmd   witness.Command
	after *witness.State // set when it is committed
	res   witness.Result
}

// node is one witness. The log, the term and the applied state survive a
// crash; the rest is memory.
type node struct {
	actor
	w    *world
	id   int
	name string

	term    uint64
	log     []*entry
	applied int
	st      *witness.State

	leads       bool
	ready       bool // the barrier of its term is applied
	known       int  // who it believes to lead; -1 = nobody
	replicating bool
	pending     map[*entry]func(witness.Result)
	base        witness.Time
	baseAt      time.Duration

	keeper
	reconciler
	prober
	own *owner // nil without corosync clusters, and while it is down
}

func (n *node) place() int { return n.id }

// hears says whether two witnesses could exchange a message just now.
func (w *world) hears(a, b *node) bool {
	return a == b || a.runs() && b.runs() && w.net.both(a.place(), b.place())
}

func (w *world) quorum() int { return len(w.nodes)/2 + 1 }

// hasQuorum says whether a majority follows n now. It makes n step down when
// it meets a later term.
func (n *node) hasQuorum() bool {
	if !n.leads {
		return false
	}
	count := 0
	for _, m := range n.w.nodes {
		if !n.w.hears(n, m) {
			continue
		}
		if m.term > n.term {
			n.stepDown(m.term)
			return false
		}
		count++
	}
	return count >= n.w.quorum()
}

// topology lets every witness look whether it still has a leader. It is called
// when something may have changed; while all is well nobody sends heartbeats.
func (w *world) topology() {
	for _, n := range w.nodes {
		n.watchLater()
	}
}

func (n *node) watchLater() {
	n.w.after(n.w.between(electionTimeout, 2*electionTimeout), &n.actor, n.watch)
}

func (n *node) watch() {
	if n.leads {
		if n.hasQuorum() {
			n.replicateLater()
			return
		}
		if n.leads {
			n.stepDown(n.term)
		}
		n.watchLater()
		return
	}
	if l := n.leaderOf(); l != nil {
		n.term, n.known = l.term, l.id
		l.replicateLater()
		return
	}
	n.known = -1
	if !n.elect() {
		n.watchLater()
	}
}

// leaderOf returns the leader that n hears, if any.
func (n *node) leaderOf() *node {
	for _, l := range n.w.nodes {
		if l.leads && l.term >= n.term && n.w.hears(n, l) {
			return l
		}
	}
	return nil
}

// elect makes n the leader if a majority votes for it: those that it reaches,
// that have no leader, and whose log is not newer.
func (n *node) elect() bool {
	var voters []*node
	term := n.term
	for _, v := range n.w.nodes {
		if !n.w.hears(n, v) {
			continue
		}
		term = max(term, v.term)
		if v == n || v.leaderOf() == nil && !newer(v.log, n.log) {
			voters = append(voters, v)
		}
	}
	if len(voters) < n.w.quorum() {
		return false
	}
	for _, v := range voters {
		v.stepDown(term + 1)
		v.known = n.id
	}
	n.leads, n.pending = true, map[*entry]func(witness.Result){}
	n.w.report.Elections++
	n.w.trace("%s leads term %d", n.name, n.term)
	n.append(witness.Touch{}, witness.Stamp{}, func(witness.Result) { n.becomeReady() })
	return true
}

// newer says whether log a is more up to date than b.
func newer(a, b []*entry) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) > len(b)
	}
	x, y := a[len(a)-1].term, b[len(b)-1].term
	return x > y || x == y && len(a) > len(b)
}

// becomeReady follows the barrier of a new term: all earlier entries are applied.
func (n *node) becomeReady() {
	n.ready = true
	n.base, n.baseAt = n.st.Now, n.w.now
	n.armAll(true)
	n.armConns()
	n.wakeReconcile(0)
}

func (n *node) stepDown(term uint64) {
	n.term = max(n.term, term)
	if n.leads {
		n.w.trace("%s leads no more", n.name)
	}
	n.leads, n.ready, n.pending = false, false, nil
	n.replicating, n.planning = false, false
	n.timers = nil
}

// clock is the cluster time that a ready leader stamps.
func (n *node) clock() witness.Time { return n.base + n.w.now - n.baseAt }

// propose appends a command on a ready leader. then is called when it is
// applied there, and never if it is not; that says nothing about its fate.
func (n *node) propose(cmd witness.Command, then func(witness.Result)) bool {
	if !n.ready {
		return false
	}
	n.append(cmd, witness.Stamp{Time: n.clock()}, then)
	return true
}

func (n *node) append(cmd witness.Command, stamp witness.Stamp, then func(witness.Result)) {
	e := &entry{term: n.term, stamp: stamp, cmd: cmd}
	n.log = append(n.log, e)
	if then != nil {
		n.pending[e] = then
	}
	n.replicateLater()
}

func (n *node) replicateLater() {
	if n.replicating || !n.leads {
		return
	}
	n.replicating = true
	term := n.term
	n.w.after(n.w.delay(), &n.actor, func() {
		if n.leads && n.term == term {
			n.replicating = false
			n.replicate()
		}
	})
}

// replicate is one round of the leader to all followers.
func (n *node) replicate() {
	w := n.w
	reached := make([]*node, 0, len(w.nodes))
	for _, m := range w.nodes {
		if m == n || !w.hears(n, m) || w.net.loss > 0 && w.chance(w.net.loss) {
			continue
		}
		if m.term > n.term {
			n.stepDown(m.term)
			n.watchLater()
			return
		}
		m.follow(n)
		reached = append(reached, m)
	}
	if len(reached)+1 < w.quorum() && !w.opt.Break.CommitAlone {
		w.after(w.between(200*time.Millisecond, 600*time.Millisecond), &n.actor, n.replicateLater)
		return
	}
	to := len(n.log)
	if n.log[to-1].term != n.term {
		return // entries of earlier terms are committed by one of this term only
	}
	last := n.log[to-1]
	n.applyTo(to)
	for _, m := range reached {
		w.after(w.delay(), &m.actor, func() {
			if len(m.log) >= to && m.log[to-1] == last {
				m.applyTo(to)
			}
		})
	}
}

// follow makes the log of m that of the leader.
func (m *node) follow(l *node) {
	if m.leads || m.term < l.term {
		m.stepDown(l.term)
	}
	m.known = l.id
	i := min(len(m.log), len(l.log))
	for i > 0 && m.log[i-1] != l.log[i-1] {
		i--
	}
	if i < m.applied && i < len(l.log) {
		m.w.violation("%s must take back entry %d, which it has applied", m.name, i+1)
		return
	}
	if i < len(l.log) || len(m.log) > len(l.log) {
		m.log = append(m.log[:i:i], l.log[i:]...)
	}
}

// applyTo applies committed entries.
func (n *node) applyTo(to int) {
	for n.applied < to && !n.w.broken() {
		e := n.log[n.applied]
		n.w.commit(n.applied, e)
		if e.after == nil {
			return // a violation
		}
		if n.w.opt.Verify {
			n.applySelf(e)
		} else {
			n.st = e.after
		}
		n.applied++
		if then := n.pending[e]; then != nil {
			delete(n.pending, e)
			then(e.res)
		}
		n.noticed()
	}
}

// applySelf applies an entry on the witness's own state, which must end as
// that of all others.
func (n *node) applySelf(e *entry) {
	n.st, _, _ = n.st.Apply(witness.Entry{Index: uint64(n.applied + 1), Term: e.term, Stamp: e.stamp, Cmd: e.cmd})
	if n.st.Digest() != e.after.Digest() {
		n.w.violation("%s has digest %x after entry %d, others have %x", n.name, n.st.Digest(), n.applied+1, e.after.Digest())
	}
}

// noticed lets the loops of a witness see a new state.
func (n *node) noticed() {
	n.lookConns()
	if n.ready {
		n.keepLater()
	}
	if n.ready || len(n.running) > 0 || witness.Busy(n.st) {
		n.wakeReconcile(n.w.delay())
	}
}

// crash loses the memory of a witness; restart brings it back, from a snapshot
// when digests are verified.
func (n *node) crash() {
	n.stepDown(n.term)
	n.kill()
	n.running, n.waking, n.known, n.own = nil, false, -1, nil
}

func (n *node) restart() {
	n.down = false
	n.running = map[string]bool{}
	if n.w.opt.Verify {
		raw, err := n.st.Marshal()
		if err != nil {
			n.w.violation("state cannot be written: %v", err)
			return
		}
		if n.st, err = witness.Unmarshal(raw); err != nil {
			n.w.violation("state cannot be read: %v", err)
			return
		}
	}
	n.probeLater()
	n.wakeReconcile(n.w.delay())
	n.watchLater()
	n.startOwner()
}
