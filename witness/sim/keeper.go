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
	renewed  time.Duration
	expiring bool
}

// longestGap is how late the keeper may wake before that counts as a pause.
const longestGap = electionTimeout

func ttlOf(l *kv.Lease) time.Duration { return time.Duration(l.TTL) * time.Second }

// armAll gives every lease its full time and an election timeout.
func (n *node) armAll() {
	n.timers = map[int64]*timer{}
	for lease := range n.st.KV.Leases() {
		d := ttlOf(lease) + electionTimeout
		if n.w.opt.Break.InheritDeadlines {
			d = ttlOf(lease) / 3
		}
		n.timers[lease.ID] = &timer{epoch: lease.Epoch, deadline: n.w.now + d, renewed: n.w.now}
	}
	n.keepLater()
}

func (n *node) timerOf(lease *kv.Lease) *timer {
	t := n.timers[lease.ID]
	if t == nil || t.epoch != lease.Epoch && !t.expiring {
		t = &timer{epoch: lease.Epoch, deadline: n.w.now + ttlOf(lease), renewed: n.w.now}
		n.timers[lease.ID] = t
	}
	return t
}

// keepLater wakes the keeper at the next deadline.
func (n *node) keepLater() {
	next := time.Duration(-1)
	for lease := range n.st.KV.Leases() {
		if t := n.timerOf(lease); !lease.Dead && !t.expiring && (next < 0 || t.deadline < next) {
			next = t.deadline
		}
	}
	if next < 0 {
		return
	}
	if n.w.opt.Break.ExpireEarly {
		next = n.w.now + (next-n.w.now)*2/3
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
		n.armAll() // paused: renewals were not served either
		return
	}
	var cmd witness.LeaseExpire
	for lease := range n.st.KV.Leases() {
		t := n.timerOf(lease)
		early := n.w.opt.Break.ExpireEarly && t.renewed+ttlOf(lease)*2/3 <= n.w.now
		if !lease.Dead && !t.expiring && (t.deadline <= n.w.now || early) {
			t.expiring = true
			cmd.IDs, cmd.Epochs = append(cmd.IDs, lease.ID), append(cmd.Epochs, lease.Epoch)
		}
	}
	if len(cmd.IDs) > 0 {
		n.expire(cmd)
	}
	n.keepLater()
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
		if t.expiring {
			n.w.after(200*time.Millisecond, &n.actor, func() { n.renew(id, reply) })
			return
		}
		t.deadline, t.renewed = max(t.deadline, n.w.now+ttlOf(lease)), n.w.now
		n.w.checkRenewal(n, lifeOfLease{id, lease.Epoch}, proven, start)
		n.keepLater()
		reply(lease.TTL)
	})
}
