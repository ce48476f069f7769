package sim

import (
	"slices"
	"time"

	"quorate/witness"
	"quorate/witness/vote"
)

// owner is what a witness has in memory of its qdevice clients, and as a leader
// of the other witnesses; as in witness/qnetd.
type owner struct {
	boot      uint64
	listening bool
	contact   time.Duration // when the newest report was sent that was acknowledged
	met       bool
	conns     []*qconn
	queue     []*submitted
	busy      bool

	heard map[string]heardOf // on the leader: by witness
	armed time.Duration
	since map[witness.QnetdRef]time.Duration
	ticks int
}

type heardOf struct {
	boot uint64
	at   time.Duration
}

type submitted struct {
	op    witness.QnetdOp
	since time.Duration
	c     *qconn
	done  func(witness.QnetdReply, uint64)
}

func (n *node) startOwner() {
	if len(n.w.quorums) == 0 {
		return
	}
	n.w.bootSeq++
	n.own = &owner{boot: n.w.bootSeq}
	n.reportLater()
	n.gateLater()
	n.reconcileConnsLater()
}

func (n *node) fresh() bool {
	return n.own.met && n.w.now-n.own.contact < qContact || n.w.opt.Break.EchoBlindly
}

func (n *node) reportLater() { n.w.after(qReport, &n.actor, n.report) }

// report tells the leader that this witness lives. The leader notes when that
// came, proves that it leads, and answers.
func (n *node) report() {
	n.reportLater()
	w := n.w
	if n.known < 0 && !n.ready {
		return
	}
	l := n
	if !n.ready {
		l = w.nodes[n.known]
	}
	sent, o, boot := w.now, n.own, n.own.boot
	w.send(n.place(), l.place(), &l.actor, func() {
		if !l.ready {
			return
		}
		at, term := w.now, l.term
		w.after(w.delay(), &l.actor, func() {
			if !l.ready || l.term != term || !l.hasQuorum() {
				return
			}
			l.own.heard[n.name] = heardOf{boot, at}
			w.send(l.place(), n.place(), &n.actor, func() {
				if n.own == o && sent > o.contact {
					o.contact, o.met = sent, true
				}
			})
		})
	})
}

func (n *node) gateLater() { n.w.after(100*time.Millisecond, &n.actor, n.gate) }

// gate ends everything while there is no contact, and clients that are silent.
func (n *node) gate() {
	n.gateLater()
	o := n.own
	o.listening = n.fresh()
	limit := witness.PeerLimit(uint32(qHeartbeat / time.Millisecond))
	if n.w.opt.Break.PeerEarly {
		limit = limit * 2 / 3 // as stock corosync-qnetd
	}
	for _, c := range slices.Clone(o.conns) {
		switch {
		case !o.listening:
			n.drop(c, witness.GoneDropped)
		case n.w.now-c.heard > limit:
			n.drop(c, witness.GoneExpired)
		}
	}
}

func (n *node) accept(c *qconn) {
	if !n.fresh() {
		n.drop(c, witness.GoneDropped)
		return
	}
	c.heard = n.w.now
	n.own.conns = append(n.own.conns, c)
	op := witness.QnetdOp{
		Kind: witness.QnetdInit, Algorithm: c.d.c.alg, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}, Heartbeat: uint32(qHeartbeat / time.Millisecond),
		Ring: c.d.ring, Addr: "10.1.0.1:1", Verified: true, TLS: true,
	}
	n.submit(c, op, func(r witness.QnetdReply, index uint64) {
		if r.Code != 0 {
			n.drop(c, witness.GoneDropped)
			return
		}
		c.known, c.born = true, index
		c.back.send(func() {
			if !c.open {
				return
			}
			c.init, c.outstanding = true, false
			var all []uint32
			for _, d := range c.d.c.nodes {
				all = append(all, d.id)
			}
			c.say(witness.QnetdOp{Kind: witness.QnetdOption, KeepActive: true})
			c.say(witness.QnetdOp{Kind: witness.QnetdConfig, Nodes: all, Initial: true})
			c.d.tellMembers()
		})
	})
}

func (n *node) echo(c *qconn) {
	if c.over || n.own == nil {
		return
	}
	c.heard = n.w.now
	if !n.fresh() {
		n.drop(c, witness.GoneDropped)
		return
	}
	c.back.send(func() { c.outstanding = false })
}

// drop ends a connection at the witness.
func (n *node) drop(c *qconn, cause string) {
	if c.over || n.own == nil {
		return
	}
	c.over = true
	n.own.conns = slices.DeleteFunc(n.own.conns, func(o *qconn) bool { return o == c })
	c.back.send(func() { c.d.lose(c, "ended by the witness") })
	n.submit(c, witness.QnetdOp{Kind: witness.QnetdDown, Cause: cause}, nil)
}

// submit puts what a client says into the log; messages that wait go together.
func (n *node) submit(c *qconn, op witness.QnetdOp, done func(witness.QnetdReply, uint64)) {
	op.Cluster, op.Node, op.Conn = c.d.c.name, c.d.id, c.number
	if op.Kind != witness.QnetdInit && op.Kind != witness.QnetdDown {
		c.op++
		op.Op = c.op
	}
	n.own.queue = append(n.own.queue, &submitted{op, n.w.now, c, done})
	n.commitNext()
}

func (n *node) commitNext() {
	o := n.own
	if o == nil || o.busy || len(o.queue) == 0 {
		return
	}
	batch := o.queue[:min(len(o.queue), 8)]
	o.queue = o.queue[len(batch):]
	o.busy = true
	n.commitBatch(batch)
}

// commitBatch proposes a batch until its fate is known; twice does no harm.
func (n *node) commitBatch(batch []*submitted) {
	w, o := n.w, n.own
	cmd := witness.QnetdCmd{Owner: n.name, Boot: o.boot}
	for _, s := range batch {
		cmd.Ops = append(cmd.Ops, s.op)
	}
	over := false
	done := func(res witness.Result) {
		if over || n.own != o {
			return
		}
		over = true
		o.busy = false
		for i, s := range batch {
			r := res.Qnetd[i]
			switch {
			case s.op.Kind == witness.QnetdDown:
			case r.Gone:
				n.drop(s.c, witness.GoneDropped)
			case s.done != nil:
				s.done(r, res.Index)
			}
		}
		n.commitNext()
	}
	l := n
	if !n.ready && n.known >= 0 {
		l = w.nodes[n.known]
	}
	w.send(n.place(), l.place(), &l.actor, func() {
		l.propose(cmd, func(res witness.Result) {
			w.send(l.place(), n.place(), &n.actor, func() { done(res) })
		})
	})
	w.after(qPropose, &n.actor, func() {
		switch {
		case over:
		case w.now-batch[0].since < qAnswer:
			over = true
			n.commitBatch(batch)
		default:
			over, o.busy = true, false
			for _, s := range batch {
				n.drop(s.c, witness.GoneDropped)
			}
			n.commitNext()
		}
	})
}

// lookConns sends the votes that the state has for the clients of this witness.
func (n *node) lookConns() {
	if n.own == nil {
		return
	}
	for _, c := range slices.Clone(n.own.conns) {
		if !c.known || n.st.Index < c.born {
			continue
		}
		q := n.st.Cluster(c.d.c.name).Quorum.Node(c.d.id)
		if q == nil || q.Session == nil || q.Session.Boot != n.own.boot || q.Session.Conn != c.number {
			n.drop(c, witness.GoneDropped)
			continue
		}
		s := *q.Session
		if s.VoteSeq == c.sent || s.Vote == vote.None {
			continue
		}
		c.sent, c.sentAs = s.VoteSeq, s.Vote
		c.back.send(func() { c.d.heed(c, s.VoteSeq, s.Vote, s.VoteRing) })
	}
}

func (n *node) reconcileConnsLater() { n.w.after(time.Second, &n.actor, n.reconcileConns) }

// reconcileConns ends sessions in the state that this witness does not have.
func (n *node) reconcileConns() {
	n.reconcileConnsLater()
	if !n.fresh() {
		return
	}
	for _, c := range n.w.quorums {
		for _, q := range n.st.Cluster(c.name).Quorum.Nodes {
			s := q.Session
			if s == nil || s.Owner != n.name || s.Boot == n.own.boot && n.hasConn(s.Conn) {
				continue
			}
			cmd := witness.QnetdCmd{Owner: n.name, Boot: s.Boot, Ops: []witness.QnetdOp{{
				Kind: witness.QnetdDown, Cluster: c.name, Node: q.ID, Conn: s.Conn, Cause: witness.GoneDropped,
			}}}
			if l := n.w.leader(); l != nil {
				n.w.send(n.place(), l.place(), &l.actor, func() { l.propose(cmd, nil) })
			}
		}
	}
}

func (n *node) hasConn(number uint64) bool {
	if slices.ContainsFunc(n.own.conns, func(c *qconn) bool { return c.number == number }) {
		return true
	}
	return slices.ContainsFunc(n.own.queue, func(s *submitted) bool { return s.c.number == number }) || n.own.busy
}

// armConns begins the watch of a new leader: everybody gets the full time.
func (n *node) armConns() {
	if n.own == nil {
		return
	}
	o := n.own
	o.heard, o.since = map[string]heardOf{}, map[witness.QnetdRef]time.Duration{}
	o.armed = n.w.now
	if n.w.opt.Break.InheritSessions {
		o.armed -= time.Hour
	}
	o.ticks++
	n.watchConnsLater(o.ticks)
}

func (n *node) watchConnsLater(ticks int) {
	due := n.w.now + qTick
	n.w.after(qTick, &n.actor, func() {
		if n.ready && n.own != nil && n.own.ticks == ticks {
			n.watchConns(due)
			n.watchConnsLater(ticks)
		}
	})
}

// watchConns ends what has expired.
func (n *node) watchConns(due time.Duration) {
	w, o := n.w, n.own
	if w.now-due > time.Second && !w.opt.Break.IgnorePauses {
		o.armed, o.since = w.now, map[witness.QnetdRef]time.Duration{}
		return
	}
	kept := map[witness.QnetdRef]time.Duration{}
	cmd := witness.QnetdExpire{Term: n.term}
	for _, c := range w.quorums {
		for i := range n.st.Cluster(c.name).Quorum.Nodes {
			q := &n.st.Cluster(c.name).Quorum.Nodes[i]
			ref := witness.QnetdRef{Cluster: c.name, Node: q.ID}
			at, limit := w.now, time.Duration(0)
			switch {
			case q.Session != nil:
				ref.Index, at = q.Session.Index, o.armed
				if h := o.heard[q.Session.Owner]; h.boot == q.Session.Boot && h.at > at {
					at = h.at
				}
				limit = witness.SessionLimit(q.Session.Heartbeat, qContact)
				if w.opt.Break.OwnerEarly {
					limit = qContact
				}
			case q.Gone != nil && !q.Gone.Sticky:
				ref.Index, limit = q.Gone.Index, q.Gone.Void()
				if q.Gone.Stale() {
					limit += qContact
				}
				if w.opt.Break.VoidEarly {
					limit = 0
				}
			default:
				continue
			}
			since, ok := o.since[ref]
			if !ok {
				since = w.now
			}
			kept[ref] = since
			if q.Session == nil || since > at && !w.opt.Break.InheritSessions {
				at = since
			}
			if w.now-at > limit {
				cmd.Items = append(cmd.Items, ref)
			}
		}
	}
	o.since = kept
	if len(cmd.Items) > 0 {
		n.propose(cmd, nil)
	}
}
