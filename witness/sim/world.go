package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"quorate/witness"
)

// cluster is one PostgreSQL cluster under Patroni.
type cluster struct {
	name     string
	prefix   string
	fast     string
	unproven string
	guarded  bool
	members  []*member
	late     *member // writes although it gave its key up: see checkReleased
}

// Patroni's settings: loop_wait + 2 x retry_timeout <= ttl.
const (
	ttl          = 15 * time.Second
	loopWait     = 5 * time.Second
	retryTimeout = 4 * time.Second
	watchdogTime = 3 * time.Second // a host under a watchdog is reset so long after the TTL without contact
	releaseAfter = watchdogTime + 2*time.Second
)

func newWorld(seed uint64, opt Options) *world {
	w := &world{opt: opt, rng: rand.New(rand.NewPCG(seed, 0x51)), prev: witness.New(), acked: map[lifeOfLease]time.Duration{}, expired: map[lifeOfLease]bool{}}
	w.report.Seed = seed
	nodes := 3
	if w.chance(6) {
		nodes = 5
	}
	for i := range nodes {
		n := &node{w: w, id: i, name: fmt.Sprintf("w%d", i+1), st: witness.New(), known: -1}
		n.running = map[string]bool{}
		w.nodes = append(w.nodes, n)
	}
	cfg := w.declare()
	w.bootstrap(cfg)
	for _, n := range w.nodes {
		n.probeLater()
		n.watchLater()
	}
	for _, h := range w.hosts {
		m := h.member
		w.after(w.between(2*time.Second, 6*time.Second), nil, func() { m.start() })
	}
	w.tool = &tool{w: w}
	w.tool.later()
	return w
}

// declare makes clusters and hosts and the configuration that names them.
func (w *world) declare() witness.Config {
	var cfg witness.Config
	clusters := 1
	if w.chance(3) {
		clusters = 2
	}
	for i := range clusters {
		c := &cluster{
			name: fmt.Sprintf("c%d", i+1), fast: pick(w, witness.FastOff, witness.FastObserve, witness.FastOn, witness.FastOn),
			unproven: pick(w, witness.UnprovenHold, witness.UnprovenHold, witness.UnprovenReleaseAfter), guarded: !w.chance(12),
		}
		spec := witness.ClusterSpec{Name: c.name, Kind: witness.KindPatroni, Fast: c.fast, OnUnproven: c.unproven, ReleaseAfter: witness.Duration(releaseAfter), FenceLimit: 1000}
		spec.Approval = pick(w, "", "", witness.ApprovalOverrides, witness.ApprovalTwoPerson)
		if c.unproven == witness.UnprovenHold && c.guarded {
			spec.Unlock = pick(w, nil, nil, []witness.Grade{witness.GradeObserved, witness.GradeFeeds}, []witness.Grade{witness.GradeFeeds, witness.GradeObserved, witness.GradePerson})
		}
		if !c.guarded || w.opt.Break.NoGuard {
			spec.Unlock = nil
			c.fast, spec.Fast, spec.Fencing = witness.FastOff, witness.FastOff, witness.FencingNone
		}
		for j := range 2 + w.rng.IntN(2) {
			h := &host{w: w, name: fmt.Sprintf("%sh%d", c.name, j+1), place: len(w.nodes) + len(w.hosts), cluster: c, on: true, bmc: bmcWorks}
			h.member = newMember(h, fmt.Sprintf("%sm%d", c.name, j+1))
			c.members = append(c.members, h.member)
			w.hosts = append(w.hosts, h)
			spec.Members = append(spec.Members, witness.MemberSpec{Name: h.member.name, Host: h.name})
			cfg.Devices = append(cfg.Devices, witness.Device{Name: "bmc-" + h.name, Driver: "simulated"})
			spec := witness.Host{
				Name: h.name, Addresses: []string{fmt.Sprintf("10.0.%d.%d", i, j+1)}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc-" + h.name}},
			}
			if w.chance(2) {
				for f := range 2 {
					h.feeds = append(h.feeds, &feed{on: true, mode: bmcWorks})
					cfg.Devices = append(cfg.Devices, witness.Device{Name: pduName(h, f), Driver: "simulated"})
					spec.Fence = append(spec.Fence, witness.FenceStep{Level: 2, Device: pduName(h, f)})
				}
			}
			cfg.Hosts = append(cfg.Hosts, spec)
		}
		c.prefix = spec.Prefix()
		w.clusters = append(w.clusters, c)
		cfg.Clusters = append(cfg.Clusters, spec)
	}
	return cfg
}

// bootstrap gives every witness the same first entries, as a new installation has.
func (w *world) bootstrap(cfg witness.Config) {
	for _, cmd := range []witness.Command{witness.Bootstrap{ClusterID: 1}, witness.Configure{Config: cfg, By: "anna"}} {
		e := &entry{cmd: cmd}
		for _, n := range w.nodes {
			n.log = append(n.log, e)
		}
	}
	for _, n := range w.nodes {
		n.applyTo(len(n.log))
	}
}

func pick[T any](w *world, of ...T) T { return of[w.rng.IntN(len(of))] }

// tool is a client that uses its own lease numbers, and uses them again.
type tool struct {
	w *world
}

const toolLease = 7

func (t *tool) later() { t.w.after(t.w.between(6*time.Second, 14*time.Second), nil, t.act) }

func (t *tool) act() {
	if l := t.w.leader(); l != nil {
		if _, ok := l.st.KV.Lease(toolLease); ok {
			l.propose(witness.LeaseRevoke{ID: toolLease}, nil)
		}
		l.propose(witness.LeaseGrant{ID: toolLease, TTL: 6}, nil)
	}
	t.later()
}

// leader returns a witness that leads and can prove it.
func (w *world) leader() *node {
	for _, n := range w.nodes {
		if n.ready && n.runs() && n.hasQuorum() {
			return n
		}
	}
	return nil
}
