package sim

import (
	"fmt"
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

// member is a Patroni process of version 3.0.2 and the PostgreSQL under it.
// The actor is Patroni; writing belongs to PostgreSQL and goes on while Patroni
// hangs.
type member struct {
	actor
	w        *world
	name     string
	host     *host
	lease    int64
	writing  bool
	updated  time.Duration // when the last successful update of its lease was sent
	endpoint int           // the witness that it talks to
	call     int           // number of the current call; answers to others are late
	seen     *witness.State
	loops    int
	pos      int64
	saidRole bool
	stale    bool  // its member key must be written anew
	armed    bool  // it believes to lead and has opened its watchdog
	givenUp  int64 // revision of the leader key that it last asked to delete
}

func newMember(h *host, name string) *member {
	m := &member{w: h.w, name: name, host: h}
	m.down = true
	return m
}

func (m *member) cluster() *cluster { return m.host.cluster }

// start begins a new life of the process, which knows nothing.
func (m *member) start() {
	if !m.down || !m.host.on {
		return
	}
	m.down = false
	m.lease, m.seen, m.stale, m.saidRole = 0, nil, true, false
	m.endpoint = m.w.rng.IntN(len(m.w.nodes))
	m.w.after(m.w.between(0, loopWait), &m.actor, m.loop)
}

func (m *member) stop() {
	m.kill()
	m.demote("its host is off")
}

// demote stops PostgreSQL and disarms the watchdog.
func (m *member) demote(why string) {
	m.armed = false
	m.setWriting(false, why)
}

func (m *member) setWriting(on bool, why string) {
	if m.writing == on {
		return
	}
	m.writing = on
	if m.w.opt.Trace != nil {
		m.w.trace("%s writes: %v (%s)", m.name, on, why)
	}
	m.w.checkWriters(m.cluster())
}

// loop is one round of Patroni's HA loop.
func (m *member) loop() {
	m.loops++
	m.w.after(m.w.between(loopWait-500*time.Millisecond, loopWait), &m.actor, m.loop)
	if m.writing {
		m.pos += 1000
	}
	m.touch()
}

// touch renews the lease, or takes a new one, and writes the member key.
func (m *member) touch() {
	sent := m.w.now
	if m.lease == 0 {
		m.w.leaseID++
		id := 100 + m.w.leaseID
		m.propose(witness.LeaseGrant{ID: id, TTL: int64(ttl / time.Second)}, func(r witness.Result, ok bool) {
			if !ok || r.Err != nil {
				m.dcsDown()
				return
			}
			m.lease, m.stale = id, true
			m.report(sent)
		})
		return
	}
	id := m.lease
	m.rpc(func(l *node, reply func(answer)) {
		l.renew(id, func(ttl int64) { reply(answer{ttl: ttl, st: l.st}) })
	}, func(a answer, ok bool) {
		switch {
		case !ok:
			m.dcsDown()
		case a.ttl == 0:
			m.lease = 0
			m.touch()
		default:
			m.report(sent)
		}
	})
}

// report writes the member key when there is something new.
func (m *member) report(sent time.Duration) {
	if !m.stale && m.saidRole == m.writing && m.loops%6 != 0 {
		m.evaluate(sent)
		return
	}
	role := "replica"
	if m.writing {
		role = "master"
	}
	value := fmt.Sprintf(`{"role":%q,"state":"running","xlog_location":%d}`, role, m.pos)
	writing := m.writing
	m.txn(kv.PutTxn(kv.PutRequest{Key: []byte(m.cluster().prefix + "members/" + m.name), Value: []byte(value), Lease: m.lease}), func(r witness.Result, ok bool) {
		if !ok || r.Err != nil {
			m.dcsDown()
			return
		}
		m.stale, m.saidRole = false, writing
		m.evaluate(sent)
	})
}

// evaluate looks at the leader key and acts on it.
func (m *member) evaluate(sent time.Duration) {
	st := m.look()
	if st == nil {
		m.dcsDown()
		return
	}
	key := m.cluster().prefix + "leader"
	leader := st.KV.Get(key)
	switch {
	case leader == nil:
		m.demote("the leader key is gone")
		m.race(st)
	case string(leader.Value) != m.name:
		m.demote("somebody else leads")
	case leader.Lease != m.lease: // 3.0.2: no compare
		m.txn(kv.PutTxn(kv.PutRequest{Key: []byte(key), Value: []byte(m.name), Lease: m.lease}), func(r witness.Result, ok bool) {
			switch {
			case !ok:
				m.dcsDown()
			case r.Err != nil:
				m.demote("its leader key was refused")
			default:
				m.lead(sent)
			}
		})
	case m.handsOver(st):
		m.giveUp(leader.ModRevision)
	default:
		m.lead(sent)
	}
}

// look returns what the process sees of the key space: what its witness has
// applied, but nothing older than it has seen before.
func (m *member) look() *witness.State {
	n := m.w.nodes[m.endpoint]
	if n.runs() && m.w.net.both(n.place(), m.host.place) && (m.seen == nil || n.st.Index >= m.seen.Index) {
		m.seen = n.st
	}
	return m.seen
}

func (m *member) lead(sent time.Duration) {
	m.updated, m.armed = sent, true
	m.watchdog()
	if m.writing {
		return
	}
	m.w.after(m.w.between(100*time.Millisecond, time.Second), &m.actor, func() {
		m.setWriting(true, "promoted")
		m.txn(kv.DeleteTxn(kv.DeleteRequest{Key: []byte(m.cluster().prefix + "failover")}), nil)
	})
}

// race tries to take the leader key of a cluster without a leader.
func (m *member) race(st *witness.State) {
	if want := m.cluster().wanted(st); want != "" && want != m.name && m.loops%3 != 0 {
		return // a switchover names somebody else: let that one go first
	}
	sent := m.w.now
	key := []byte(m.cluster().prefix + "leader")
	req := kv.TxnRequest{
		Compare: []kv.Compare{{Key: key, Target: kv.CompareCreate}},
		Success: []kv.Op{{Put: &kv.PutRequest{Key: key, Value: []byte(m.name), Lease: m.lease}}},
	}
	m.txn(req, func(r witness.Result, ok bool) {
		if ok && r.Err == nil && r.Txn.Succeeded {
			m.lead(sent)
		}
	})
}

// wanted returns the member that a switchover names.
func (c *cluster) wanted(st *witness.State) string {
	f := st.KV.Get(c.prefix + "failover")
	if f == nil {
		return ""
	}
	for _, m := range c.members {
		if string(f.Value) == fmt.Sprintf(`{"leader":%q,"member":%q}`, c.otherThan(m, string(f.Value)), m.name) {
			return m.name
		}
	}
	return ""
}

// otherThan returns the leader that a failover key names beside m.
func (c *cluster) otherThan(m *member, value string) string {
	for _, o := range c.members {
		if o != m && value == fmt.Sprintf(`{"leader":%q,"member":%q}`, o.name, m.name) {
			return o.name
		}
	}
	return ""
}

func (m *member) handsOver(st *witness.State) bool {
	want := m.cluster().wanted(st)
	return m.writing && want != "" && want != m.name
}

// giveUp stops PostgreSQL and then deletes the leader key, if it is unchanged.
func (m *member) giveUp(rev int64) {
	m.w.after(m.w.between(100*time.Millisecond, 2*time.Second), &m.actor, func() {
		m.demote("switchover")
		m.givenUp = rev
		key := []byte(m.cluster().prefix + "leader")
		m.txn(kv.TxnRequest{
			Compare: []kv.Compare{{Key: key, Target: kv.CompareMod, Number: rev}},
			Success: []kv.Op{{Delete: &kv.DeleteRequest{Key: key}}},
		}, nil)
	})
}

// dcsDown is what Patroni does when no witness answered within retry_timeout.
func (m *member) dcsDown() { m.demote("no witness answers") }

// watchdog resets a host whose Patroni has lost the witnesses, where the
// policy of the cluster relies on that.
func (m *member) watchdog() {
	if m.cluster().unproven != witness.UnprovenReleaseAfter {
		return
	}
	at, life := m.updated, m.life
	m.w.after(at+ttl+watchdogTime-m.w.now, nil, func() {
		if m.life != life || m.updated != at || !m.host.on || !m.armed {
			return
		}
		m.host.powerOff("watchdog")
		m.w.after(3*time.Second, nil, func() { m.host.powerOn("watchdog") })
	})
}

// answer is what a call returns.
type answer struct {
	ttl int64
	res witness.Result
	st  *witness.State
}

// txn changes the key space. then may be nil.
func (m *member) txn(req kv.TxnRequest, then func(witness.Result, bool)) {
	m.propose(witness.Txn{Req: req}, then)
}

func (m *member) propose(cmd witness.Command, then func(witness.Result, bool)) {
	m.rpc(func(l *node, reply func(answer)) {
		l.propose(cmd, func(r witness.Result) { reply(answer{res: r, st: l.st}) })
	}, func(a answer, ok bool) {
		if then != nil {
			then(a.res, ok)
		}
	})
}

// rpc calls a witness, which forwards once to the leader that it knows. After
// a third of retry_timeout the next witness is asked, as Patroni does with
// every kind of call.
func (m *member) rpc(do func(*node, func(answer)), then func(answer, bool)) {
	m.attempt(3, do, then)
}

func (m *member) attempt(tries int, do func(*node, func(answer)), then func(answer, bool)) {
	m.call++
	call := m.call
	if tries == 0 {
		then(answer{}, false)
		return
	}
	w, n := m.w, m.w.nodes[m.endpoint]
	home := func(a answer) {
		w.send(n.place(), m.host.place, &m.actor, func() {
			if m.call != call {
				return
			}
			m.call++
			if m.seen == nil || a.st.Index > m.seen.Index {
				m.seen = a.st // it waits until its watch has delivered its own write
			}
			then(a, true)
		})
	}
	w.send(m.host.place, n.place(), &n.actor, func() {
		if n.ready {
			do(n, home)
			return
		}
		if n.known < 0 || n.known == n.id {
			return
		}
		l := w.nodes[n.known]
		w.send(n.place(), l.place(), &l.actor, func() {
			do(l, func(a answer) { w.send(l.place(), n.place(), &n.actor, func() { home(a) }) })
		})
	})
	w.after(retryTimeout/3, &m.actor, func() {
		if m.call == call {
			m.endpoint = (m.endpoint + 1) % len(w.nodes)
			m.attempt(tries-1, do, then)
		}
	})
}
