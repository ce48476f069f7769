package sim

import (
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

// keeper holds the deadlines of a leader, as witness/node does.
type keeper struct {
	timers  map[int64]*timer
	keepSeq int
}

type timer struct {
	epoch    uint64
	deadline time.Duration
	margin   time.Duration
	renewed  time.Duration
	expiring bool

	mark    time.Duration // when to write down what is left
	marked  bool
	marks   int
	marking bool
}

func (t *timer) busy() bool { return t.expiring || t.marking }

func eighths(n int, l *kv.Lease) time.Duration { return ttlOf(l) / 8 * time.Duration(n) }

// longestGap is how late the keeper may wake before that counts as a pause.
const longestGap = electionTimeout

func ttlOf(l *kv.Lease) time.Duration { return time.Duration(l.TTL) * time.Second }

// armAll gives every lease its full time and an election timeout; a new leader
// gives those that are marked in the log the time that they had left.
func (n *node) armAll(elected bool) {
	old := n.timers
	n.timers = map[int64]*timer{}
	for lease := range n.st.KV.Leases() {
		d, first := ttlOf(lease), 3
		rest, marked := n.st.LeaseRest(lease.ID)
		if marked && elected {
			d, first = min(d, rest+ttlOf(lease)/500), 1
		}
		if n.w.opt.Break.InheritDeadlines {
			d = ttlOf(lease)/3 - electionTimeout
		}
		t := &timer{epoch: lease.Epoch, marked: marked}
		if o := old[lease.ID]; o != nil && o.epoch == lease.Epoch {
			t.marked, t.marks, t.expiring, t.marking = t.marked || o.marked, o.marks, o.expiring, o.marking
		}
		t.deadline, t.margin, t.renewed = n.w.now+d+electionTimeout, electionTimeout, n.w.now
		t.mark = n.w.now + eighths(first, lease)
		n.timers[lease.ID] = t
	}
	n.keepLater()
}

func (n *node) timerOf(lease *kv.Lease) *timer {
	t := n.timers[lease.ID]
	if t == nil || t.epoch != lease.Epoch && !t.busy() {
		t = &timer{epoch: lease.Epoch, deadline: n.w.now + ttlOf(lease), renewed: n.w.now, mark: n.w.now + eighths(3, lease)}
		n.timers[lease.ID] = t
	}
	return t
}

// keepLater wakes the keeper at the next deadline.
func (n *node) keepLater() {
	next := time.Duration(-1)
	for lease := range n.st.KV.Leases() {
		t := n.timerOf(lease)
		if lease.Dead || t.busy() {
			continue
		}
		wake := t.deadline
		if n.w.opt.Break.ExpireEarly {
			wake = n.w.now + (wake-n.w.now)*2/3
		}
		if wake = min(wake, t.mark); next < 0 || wake < next {
			next = wake
		}
	}
	if next < 0 {
		return
	}
	n.keepSeq++
	seq, due := n.keepSeq, max(next, n.w.now)
	n.w.after(due-n.w.now, &n.actor, func() {
		if n.ready && n.keepSeq == seq {
			n.keep(due)
		}
	})
}

// keep starts the end of the leases whose deadline has passed.
func (n *node) keep(due time.Duration) {
	if n.w.now-due > longestGap && !n.w.opt.Break.IgnorePauses {
		n.armAll(false) // paused: renewals were not served either
		return
	}
	var cmd witness.LeaseExpire
	for lease := range n.st.KV.Leases() {
		t := n.timerOf(lease)
		early := n.w.opt.Break.ExpireEarly && t.renewed+ttlOf(lease)*2/3 <= n.w.now
		if !lease.Dead && !t.busy() && (t.deadline <= n.w.now || early) {
			t.expiring = true
			cmd.IDs, cmd.Epochs = append(cmd.IDs, lease.ID), append(cmd.Epochs, lease.Epoch)
		}
	}
	if len(cmd.IDs) > 0 {
		n.expire(cmd)
	}
	n.writeMarks()
	n.keepLater()
}

// writeMarks records how long the leases have left that were not renewed for a
// while. They are not renewed until the entry's fate is known.
func (n *node) writeMarks() {
	cmd := witness.LeaseCheckpoint{Term: n.term}
	for lease := range n.st.KV.Leases() {
		t := n.timerOf(lease)
		if lease.Dead || t.busy() || n.w.now < t.mark {
			continue
		}
		t.mark = n.w.now + eighths(1, lease)
		rest := t.deadline - t.margin - n.w.now
		if rest >= ttlOf(lease) {
			continue
		}
		t.marked, t.marking = true, true
		t.marks++
		cmd.Rests = append(cmd.Rests, witness.LeaseRest{ID: lease.ID, Epoch: lease.Epoch, Rest: max(rest.Milliseconds()+1, 1)})
	}
	if len(cmd.Rests) == 0 {
		return
	}
	n.w.report.Marks++
	n.propose(cmd, func(witness.Result) {
		for _, r := range cmd.Rests {
			if t := n.timers[r.ID]; t != nil {
				t.marking = false
			}
		}
		n.keepLater()
	})
}

// expire verifies leadership, then commits the end of leases on this very node.
func (n *node) expire(cmd witness.LeaseExpire) {
	cmd.Term = n.term
	seen, ids := n.w.now, cmd.IDs
	settle := func() {
		for _, id := range ids {
			if t := n.timers[id]; t != nil {
				t.expiring = false
			}
		}
		n.keepLater()
	}
	if n.w.opt.Break.ExpireWithoutMark {
		cmd.Epochs = nil
	}
	n.w.after(n.w.delay(), &n.actor, func() {
		late := n.w.now-seen > longestGap && !n.w.opt.Break.IgnorePauses
		if !n.ready || n.term != cmd.Term {
			return
		}
		if late || !n.hasQuorum() {
			if n.ready {
				settle()
			}
			return
		}
		n.propose(cmd, func(witness.Result) { settle() })
	})
}

// renew answers a keep-alive with the TTL in seconds, 0 if the lease is gone,
// or not at all if this node cannot prove that it leads.
func (n *node) renew(id int64, reply func(ttl int64)) {
	if !n.ready || !n.w.opt.Break.RenewBlindly && !n.hasQuorum() {
		return
	}
	start, term, proven := n.w.now, n.term, n.w.followed(n)
	n.w.after(n.w.delay(), &n.actor, func() {
		if !n.ready || n.term != term {
			return
		}
		if n.w.now-start > electionTimeout && !n.w.opt.Break.IgnorePauses {
			n.renew(id, reply)
			return
		}
		lease, ok := n.st.KV.Lease(id)
		if !ok || lease.Dead {
			reply(0)
			return
		}
		t := n.timerOf(lease)
		if t.busy() {
			n.w.after(200*time.Millisecond, &n.actor, func() { n.renew(id, reply) })
			return
		}
		t.renewed, t.mark = n.w.now, n.w.now+eighths(3, lease)
		if d := n.w.now + ttlOf(lease); d > t.deadline {
			t.deadline, t.margin = d, 0
		}
		if t.marked && !n.w.opt.Break.RenewMarked {
			n.takeBack(lease, t, func() { n.renew(id, reply) })
			return
		}
		n.w.checkRenewal(n, lifeOfLease{id, lease.Epoch}, proven, start)
		n.keepLater()
		reply(lease.TTL)
	})
}

// takeBack commits that a lease was renewed, and then goes on.
func (n *node) takeBack(lease *kv.Lease, t *timer, then func()) {
	marks := t.marks
	rest := witness.LeaseRest{ID: lease.ID, Epoch: lease.Epoch}
	n.propose(witness.LeaseCheckpoint{Term: n.term, Rests: []witness.LeaseRest{rest}}, func(witness.Result) {
		if t.marks == marks {
			t.marked = false
		}
		then()
	})
}
