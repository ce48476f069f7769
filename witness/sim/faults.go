package sim

import (
	"slices"
	"time"

	"quorate/witness"
)

// scheduleFault lets something go wrong every few seconds.
func (w *world) scheduleFault() {
	w.after(w.between(time.Second, 9*time.Second), nil, func() {
		if w.calm {
			return
		}
		faults[w.rng.IntN(len(faults))](w)
		w.topology()
		w.scheduleFault()
	})
}

// faults are all things that can happen to an installation. What is listed
// twice is twice as likely.
var faults = []func(*world){
	(*world).crashNode, (*world).pauseNode, (*world).pauseNode,
	(*world).cutLink, (*world).cutLink, (*world).isolateNode,
	(*world).isolateHost, (*world).isolateHost, (*world).losePower,
	(*world).hang, (*world).hang, (*world).crashPatroni,
	(*world).breakBMC, (*world).breakBMC, (*world).cutBMC,
	(*world).breakPDU, (*world).cutPDU,
	(*world).askReboot, (*world).askAsMember, (*world).askAsMember, (*world).approve, (*world).approve,
	(*world).badNetwork, (*world).mendNetwork,
	(*world).askSwitchover, (*world).askFence, (*world).askFence, (*world).askPowerOn, (*world).pressButton, (*world).pressButton, (*world).confirm, (*world).confirm,
	(*world).revokeLease,
}

func (w *world) someNode() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }
func (w *world) someHost() *host { return w.hosts[w.rng.IntN(len(w.hosts))] }

// leaderOrSome prefers the leader: it is the one whose faults matter most.
func (w *world) leaderOrSome() *node {
	for _, n := range w.nodes {
		if n.leads && w.chance(2) {
			return n
		}
	}
	return w.someNode()
}

func (w *world) crashNode() {
	n := w.leaderOrSome()
	if n.down {
		return
	}
	w.trace("fault: %s crashes", n.name)
	n.crash()
	w.after(w.between(time.Second, 30*time.Second), nil, func() { w.bringUp(n) })
}

func (w *world) bringUp(n *node) {
	if n.down {
		w.trace("%s starts again", n.name)
		n.restart()
		w.topology()
	}
}

func (w *world) pauseNode() {
	n := w.leaderOrSome()
	if !n.runs() {
		return
	}
	d := pick(w, 400*time.Millisecond, time.Second, 3*time.Second, 8*time.Second, 40*time.Second)
	w.trace("fault: %s is paused for %s", n.name, d)
	n.paused = true
	life := n.life
	w.after(d, nil, func() {
		if n.life == life {
			w.trace("%s goes on", n.name)
			w.resume(&n.actor)
			w.topology()
		}
	})
}

// mendLater undoes a cut after a while.
func (w *world) mendLater(undo func()) {
	w.after(w.between(2*time.Second, 40*time.Second), nil, func() {
		undo()
		w.topology()
	})
}

func (w *world) cutLink() {
	a, b := w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes)+len(w.hosts))
	both := w.chance(2)
	w.trace("fault: the link %d-%d is cut, both ways: %v", a, b, both)
	w.net.cut[a][b] = a != b
	w.net.cut[b][a] = a != b && (both || w.net.cut[b][a])
	w.mendLater(func() { w.net.cut[a][b], w.net.cut[b][a] = false, false })
}

// isolateNode cuts a witness from the others, but not from the hosts.
func (w *world) isolateNode() {
	n := w.leaderOrSome()
	w.trace("fault: %s is cut from the other witnesses", n.name)
	w.cutAll(n.place(), 0, len(w.nodes), true)
	w.mendLater(func() { w.cutAll(n.place(), 0, len(w.nodes), false) })
}

func (w *world) isolateHost() {
	h := w.hostOfWriter()
	from := 0
	if w.chance(3) {
		from = 1 + w.rng.IntN(len(w.nodes)-1)
	}
	w.trace("fault: %s is cut from the witnesses but the first %d", h.name, from)
	w.cutAll(h.place, from, len(w.nodes), true)
	w.mendLater(func() { w.cutAll(h.place, from, len(w.nodes), false) })
}

func (w *world) cutAll(place, from, to int, cut bool) {
	for i := from; i < to; i++ {
		if i != place {
			w.net.cut[place][i], w.net.cut[i][place] = cut, cut
		}
	}
}

// hostOfWriter prefers a host whose member writes.
func (w *world) hostOfWriter() *host {
	for _, h := range w.hosts {
		if h.member.writing && !w.chance(3) {
			return h
		}
	}
	return w.someHost()
}

// losePower takes the power from a host, and often from its BMC with it.
func (w *world) losePower() {
	h := w.hostOfWriter()
	if w.chance(2) {
		h.bmc = bmcDead
	}
	h.powerOff("power failure")
}

func (w *world) hang() {
	h := w.hostOfWriter()
	m := h.member
	if !m.runs() {
		return
	}
	d := pick(w, 2*time.Second, 10*time.Second, 20*time.Second, 60*time.Second, time.Hour)
	w.trace("fault: Patroni of %s hangs for %s, PostgreSQL goes on", m.name, d)
	m.paused = true
	life := m.life
	w.after(d, nil, func() {
		if m.life == life {
			w.trace("Patroni of %s goes on", m.name)
			w.resume(&m.actor)
		}
	})
}

// crashPatroni kills Patroni and PostgreSQL; systemd starts them again.
func (w *world) crashPatroni() {
	m := w.hostOfWriter().member
	if m.down {
		return
	}
	w.trace("fault: Patroni of %s crashes", m.name)
	m.kill()
	m.demote("it crashed")
	life := m.life
	w.after(w.between(time.Second, 8*time.Second), nil, func() {
		if m.life == life && m.host.on {
			m.start()
		}
	})
}

func (w *world) breakBMC() {
	h := w.hostOfWriter()
	h.bmc = pick(w, bmcWorks, bmcWorks, bmcSlow, bmcSlow, bmcDead, bmcIgnores, bmcVanishes, bmcRefuses)
	w.trace("fault: the BMC of %s: %s", h.name, h.bmc)
}

func (w *world) cutBMC() {
	n, h := w.someNode(), w.hostOfWriter()
	w.trace("fault: %s cannot reach the BMC of %s", n.name, h.name)
	w.net.cutBMC[n.id][h.place] = true
	w.mendLater(func() { w.net.cutBMC[n.id][h.place] = false })
}

func (w *world) badNetwork() {
	w.net.loss, w.net.slow = pick(w, 0, 4, 20), pick(w, 0, 10, 40)
	w.trace("fault: the network loses one message in %d and delays one in %d", w.net.loss, w.net.slow)
}

func (w *world) mendNetwork() {
	w.net.loss, w.net.slow = 0, 0
	w.net.cut = [maxPlaces][maxPlaces]bool{}
	w.trace("the network works")
}

// ask puts a request of a person into the log.
func (w *world) ask(r witness.Request) {
	if l := w.leader(); l != nil {
		r.By, r.Reason = "anna", "simulated"
		w.trace("anna asks for %s of %s%s %v", r.Kind, r.Host, r.Cluster, r.Override)
		l.propose(witness.RequestCmd{Request: r}, nil)
	}
}

func (w *world) askSwitchover() {
	w.ask(witness.Request{Kind: witness.RequestSwitchover, Cluster: w.clusters[w.rng.IntN(len(w.clusters))].name})
}

func (w *world) askFence() {
	r := witness.Request{Kind: witness.RequestFenceOff, Host: w.hostOfWriter().name}
	if w.chance(2) {
		r.Override = []string{"fence.holder", "fence.blast-radius"}
	}
	w.ask(r)
}

func (w *world) askPowerOn() {
	w.ask(witness.Request{Kind: witness.RequestFenceOn, Host: w.someHost().name})
}

// pressButton is a person who powers a host on by hand, whatever the witnesses
// are about to do.
func (w *world) pressButton() {
	for _, h := range w.hosts {
		if !h.on && !h.vouched {
			h.powerOn("button")
			return
		}
	}
}

// confirm is a person who looks, sees that a host is off, and says so. Nobody
// powers it on before that has been recorded.
func (w *world) confirm() {
	for _, h := range w.hosts {
		if (h.on && !w.opt.Break.ConfirmBlindly) || h.vouched || w.guardOn(h) == nil {
			continue
		}
		l := w.leader()
		if l == nil {
			return
		}
		h.vouched = true
		w.trace("anna confirms that %s is off", h.name)
		l.propose(witness.RequestCmd{Request: witness.Request{Kind: witness.RequestConfirmOff, Host: h.name, By: "anna", Reason: "I stand before it"}}, func(witness.Result) { h.vouched = false })
		return
	}
}

func (w *world) guardOn(h *host) *witness.Guard {
	if c := w.prev.Cluster(h.cluster.name); c != nil && c.Guard != nil && c.Guard.Host == h.name {
		return c.Guard
	}
	return nil
}

// revokeLease is a client that ends a lease which is not its own.
func (w *world) revokeLease() {
	l := w.leader()
	if l == nil || !w.chance(4) {
		return
	}
	var ids []int64
	for lease := range l.st.KV.Leases() {
		ids = append(ids, lease.ID)
	}
	slices.Sort(ids)
	if len(ids) > 0 {
		id := ids[w.rng.IntN(len(ids))]
		w.trace("fault: a client revokes lease %d", id)
		l.propose(witness.LeaseRevoke{ID: id}, nil)
	}
}

// heal mends everything that can be mended, and has people look after hosts
// that are off from then on.
func (w *world) heal() {
	w.trace("everything is healed")
	w.calm = true
	w.mendNetwork()
	w.net.cutBMC, w.net.cutPDU = [maxPlaces][maxPlaces]bool{}, [maxPlaces][maxPlaces]bool{}
	for _, n := range w.nodes {
		w.bringUp(n)
		w.resume(&n.actor)
	}
	for _, h := range w.hosts {
		h.bmc, h.vouched = bmcWorks, false
		for _, f := range h.feeds {
			f.mode = bmcWorks
		}
		w.resume(&h.member.actor)
	}
	w.topology()
	w.after(0, nil, w.lookAfterHosts)
}

func (w *world) lookAfterHosts() {
	pending := map[string]bool{}
	for _, a := range w.prev.PendingActions() {
		pending[a.Host] = true
	}
	for _, h := range w.hosts {
		if !h.on && !pending[h.name] && w.guardOn(h) == nil {
			h.powerOn("button")
		}
	}
	w.after(10*time.Second, nil, w.lookAfterHosts)
}
