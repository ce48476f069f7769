package sim

import (
	"fmt"
	"slices"
	"time"

	"quorate/witness"
	"quorate/witness/vote"
)

// Times of the quorum device in the simulator: shorter than in witness/qnetd, so
// that more happens.
const (
	qHeartbeat = 2 * time.Second
	qContact   = 4*electionTimeout + time.Second
	qReport    = time.Second
	qTick      = 200 * time.Millisecond
	qAnswer    = 10 * time.Second
	qPropose   = 3 * time.Second
)

// quorumCluster is a corosync cluster: what its nodes really count.
type quorumCluster struct {
	w       *world
	name    string
	alg     vote.Algorithm
	sticky  bool // clients keep their ACK when they lose the witnesses
	nodes   []*qdevice
	seq     uint64
	since   time.Duration // of the present groups
	groups  string
	forming time.Duration // until when a new ring is being adopted
}

func (w *world) declareCorosync() witness.Config {
	c := &quorumCluster{w: w, name: "lab", alg: pick(w, vote.FFSplit, vote.FFSplit, vote.LMS), seq: 1}
	spec := witness.ClusterSpec{Name: c.name, Kind: witness.KindCorosync, WaitForAll: pick(w, "", "no")}
	n := pick(w, 2, 2, 3, 4)
	if n == 2 && w.chance(6) {
		c.alg = vote.TwoNodeLMS
	}
	c.sticky = c.alg == vote.TwoNodeLMS || c.alg == vote.LMS && spec.WaitForAll == ""
	var cfg witness.Config
	for i := range n {
		d := &qdevice{w: w, c: c, id: uint32(i + 1), place: len(w.nodes) + i}
		c.nodes = append(c.nodes, d)
		host := fmt.Sprintf("h%d", i+1)
		cfg.Hosts = append(cfg.Hosts, witness.Host{Name: host, Addresses: []string{fmt.Sprintf("10.1.0.%d", i+1)}})
		spec.Members = append(spec.Members, witness.MemberSpec{Name: fmt.Sprintf("n%d", i+1), Host: host, Node: d.id})
	}
	cfg.Clusters = []witness.ClusterSpec{spec}
	w.quorums = append(w.quorums, c)
	return cfg
}

func (c *quorumCluster) start() {
	c.form()
	for _, d := range c.nodes {
		d.connectLater(c.w.between(0, time.Second))
		d.beatLater()
	}
}

// group returns the nodes that a node sees, itself first known by the least id.
func (c *quorumCluster) group(d *qdevice) []uint32 {
	seen := map[*qdevice]bool{d: true}
	for grown := true; grown; {
		grown = false
		for _, a := range c.nodes {
			for _, b := range c.nodes {
				if seen[a] && !seen[b] && c.w.net.both(a.place, b.place) {
					seen[b], grown = true, true
				}
			}
		}
	}
	var ids []uint32
	for _, o := range c.nodes {
		if seen[o] {
			ids = append(ids, o.id)
		}
	}
	return ids
}

// form lets corosync make new rings a while after the network changed, node by
// node.
func (c *quorumCluster) form() {
	w := c.w
	now := ""
	for _, d := range c.nodes {
		now += fmt.Sprint(c.group(d))
	}
	if now != c.groups {
		c.groups, c.since = now, w.now
	}
	if w.now-c.since >= time.Second && w.now >= c.forming {
		done := map[uint32]bool{}
		for _, d := range c.nodes {
			g := c.group(d)
			if done[g[0]] {
				continue
			}
			done[g[0]] = true
			stale := func(m *qdevice) bool {
				return slices.Contains(g, m.id) && (!slices.Equal(m.members, g) || m.ring != c.nodes[g[0]-1].ring)
			}
			if !slices.ContainsFunc(c.nodes, stale) {
				continue
			}
			c.seq += 4
			ring := vote.Ring{Node: g[0], Seq: c.seq}
			c.forming = w.now + 400*time.Millisecond
			for _, m := range c.nodes {
				if slices.Contains(g, m.id) {
					w.after(w.between(0, 300*time.Millisecond), nil, func() { m.adopt(ring, g) })
				}
			}
		}
	}
	w.after(250*time.Millisecond, nil, c.form)
}

// check: all nodes that count an ACK are in one ring.
func (c *quorumCluster) check() {
	var who *qdevice
	for _, d := range c.nodes {
		if d.counts != vote.ACK {
			continue
		}
		if who != nil && who.ring != d.ring {
			c.w.violation("two sides are quorate: node %d counts an ACK in ring %s, node %d in ring %s (%s, sticky %t)", who.id, who.ring, d.id, d.ring, c.alg, c.sticky)
			return
		}
		who = d
	}
}

// settled: all nodes are together and have the vote.
func (c *quorumCluster) settled() bool {
	for _, d := range c.nodes {
		if d.counts != vote.ACK || len(d.members) != len(c.nodes) {
			return false
		}
	}
	return true
}

// qdevice is one node with its corosync and its corosync-qdevice.
type qdevice struct {
	w       *world
	c       *quorumCluster
	id      uint32
	place   int
	ring    vote.Ring
	members []uint32
	counts  vote.Vote // what its corosync counts for ring; None = it waits
	conn    *qconn
	tries   int
	down    bool // its qdevice was killed
}

// qconn is one connection: both ends of it.
type qconn struct {
	d        *qdevice
	n        *node
	life     int // of the witness
	number   uint64
	up, back *stream

	open        bool // the client has it
	init        bool // and an answer to its INIT
	outstanding bool // an echo is not answered

	known, over bool // the log has it; the witness has ended it
	born        uint64
	op          uint64
	sent        uint32
	sentAs      vote.Vote
	heard       time.Duration
}

// stream is one direction of a TCP connection: nothing is lost or reordered,
// and what cannot be delivered is sent again for as long as it is open.
type stream struct {
	w        *world
	from, to int
	who      *actor // who receives
	queue    []func()
	busy     bool
	dead     bool
}

func (s *stream) send(fn func()) {
	if s.dead {
		return
	}
	s.queue = append(s.queue, fn)
	s.pump()
}

func (s *stream) pump() {
	if s.busy || s.dead || len(s.queue) == 0 {
		return
	}
	s.busy = true
	s.w.after(s.w.delay(), s.who, func() {
		s.busy = false
		switch {
		case s.dead:
		case s.w.lost(s.from, s.to):
			s.w.after(300*time.Millisecond, nil, s.pump)
		default:
			fn := s.queue[0]
			s.queue = s.queue[1:]
			fn()
			s.pump()
		}
	})
}

// adopt is a new membership. Its vote waits until the witnesses have answered.
func (d *qdevice) adopt(ring vote.Ring, members []uint32) {
	d.ring, d.members, d.counts = ring, members, vote.None
	d.w.trace("node %d is in ring %s %v", d.id, ring, members)
	d.tellMembers()
}

func (d *qdevice) tellMembers() {
	c := d.conn
	if c == nil || !c.init || len(d.members) == 0 {
		return
	}
	c.say(witness.QnetdOp{Kind: witness.QnetdMembership, Ring: d.ring, Nodes: d.members, Heuristics: vote.Heuristics(d.w.rng.IntN(3))})
}

// say takes a message to the witness, which puts it into the log.
func (c *qconn) say(op witness.QnetdOp) {
	c.up.send(func() {
		c.heard = c.d.w.now
		if !c.over {
			c.n.submit(c, op, nil)
		}
	})
}

func (d *qdevice) connectLater(after time.Duration) { d.w.after(after, nil, d.connect) }

// connect tries one witness after the other: at once if it is refused, after a
// time-out if nobody answers.
func (d *qdevice) connect() {
	if d.conn != nil || d.down {
		return
	}
	w := d.w
	d.tries++
	n := w.nodes[(int(d.id)+d.tries)%len(w.nodes)]
	switch {
	case !w.net.both(d.place, n.place()) || n.paused:
		d.connectLater(qHeartbeat)
		return
	case n.down || n.own == nil || !n.own.listening:
		d.connectLater(w.between(20*time.Millisecond, 400*time.Millisecond))
		return
	}
	w.connSeq++
	c := &qconn{d: d, n: n, life: n.life, number: w.connSeq, open: true, heard: w.now}
	c.up = &stream{w: w, from: d.place, to: n.place(), who: &n.actor}
	c.back = &stream{w: w, from: n.place(), to: d.place}
	d.conn = c
	c.up.send(func() { c.n.accept(c) })
}

// lose ends the connection at the client's side.
func (d *qdevice) lose(c *qconn, how string) {
	if d.conn != c || !c.open {
		return
	}
	d.w.trace("node %d loses connection %d: %s", d.id, c.number, how)
	d.conn, c.open, c.back.dead = nil, false, true
	if !d.c.sticky {
		d.count(vote.NACK)
	}
	cause := witness.GoneClosed
	c.up.send(func() { c.n.drop(c, cause) })
	d.connectLater(d.w.between(0, qHeartbeat/2))
}

func (d *qdevice) count(v vote.Vote) {
	d.counts = v
	d.c.check()
}

func (d *qdevice) beatLater() { d.w.after(qHeartbeat, nil, d.beat) }

// beat is the client's heartbeat: one that is not answered by the next ends the
// connection.
func (d *qdevice) beat() {
	d.beatLater()
	c := d.conn
	if c == nil {
		return
	}
	switch {
	case c.n.life != c.life && d.w.net.both(d.place, c.n.place()):
		d.lose(c, "reset by the peer")
	case !c.init:
		if c.outstanding { // connect_timeout
			d.lose(c, "no answer to INIT")
		}
		c.outstanding = true
	case c.outstanding:
		d.lose(c, "echo not answered")
	default:
		c.outstanding = true
		c.up.send(func() { c.n.echo(c) })
	}
}

// heed takes a vote.
func (d *qdevice) heed(c *qconn, seq uint32, v vote.Vote, ring vote.Ring) {
	if !c.open {
		return
	}
	if ring == d.ring {
		d.w.trace("node %d counts %s for ring %s", d.id, v, ring)
		d.count(v)
	}
	c.up.send(func() {
		c.heard = c.d.w.now
		if c.sent == seq && c.sentAs == vote.NACK && !c.over {
			c.n.submit(c, witness.QnetdOp{Kind: witness.QnetdAnswered, Seq: seq}, nil)
		}
	})
}

// killQdevice is kill -9: corosync counts the last vote for T, the kernel resets
// the connection. A node that is cut off when it happens is left out: its vote
// lasts for T longer than that of a client which gives up, see docs/qnetd.md.
func (d *qdevice) killQdevice() {
	c := d.conn
	if c == nil || d.down || c.outstanding || !d.w.net.both(d.place, c.n.place()) || !c.n.runs() {
		return
	}
	d.w.trace("fault: the qdevice of node %d is killed", d.id)
	d.conn, d.down, c.open, c.back.dead = nil, true, false, true
	c.up.send(func() { c.n.drop(c, witness.GoneBroken) })
	ring := d.ring
	d.w.after(qHeartbeat*5/4, nil, func() {
		if d.ring == ring {
			d.count(vote.None)
		}
	})
	d.w.after(qHeartbeat*5/4+d.w.between(time.Second, 4*time.Second), nil, func() { d.down = false; d.connect() })
}

// quorumFaults are what can happen to an installation with a corosync cluster.
var quorumFaults = []func(*world){
	(*world).crashNode, (*world).pauseNode, (*world).pauseNode, (*world).isolateNode, (*world).cutLinks,
	(*world).splitRing, (*world).splitRing, (*world).splitRing, (*world).cutNode, (*world).cutNode, (*world).cutNode,
	(*world).killSomeQdevice, (*world).badNetwork, (*world).mendNetwork,
}

func (w *world) someQdevice() *qdevice {
	nodes := w.quorums[0].nodes
	for _, d := range nodes {
		if d.counts == vote.ACK && w.chance(2) {
			return d
		}
	}
	return nodes[w.rng.IntN(len(nodes))]
}

// splitRing cuts the nodes of the cluster into two sides.
func (w *world) splitRing() {
	nodes := w.quorums[0].nodes
	side := make([]bool, len(nodes))
	for i := range side {
		side[i] = w.chance(2)
	}
	side[w.rng.IntN(len(nodes))] = true
	cut := func(on bool) {
		for i, a := range nodes {
			for j, b := range nodes {
				if side[i] != side[j] {
					w.net.cut[a.place][b.place] = on
				}
			}
		}
	}
	w.trace("fault: the ring is cut, one side is %v", side)
	cut(true)
	w.mendLater(func() { cut(false) })
}

// cutNode cuts a node from all witnesses, or from all but one.
func (w *world) cutNode() {
	d := w.someQdevice()
	from := pick(w, 0, 0, 1)
	w.trace("fault: node %d is cut from the witnesses but the first %d", d.id, from)
	w.cutAll(d.place, from, len(w.nodes), true)
	w.mendLater(func() { w.cutAll(d.place, from, len(w.nodes), false) })
}

// cutLinks cuts one link between any two places.
func (w *world) cutLinks() {
	all := len(w.nodes) + len(w.quorums[0].nodes)
	a, b := w.rng.IntN(all), w.rng.IntN(all)
	if a == b {
		return
	}
	w.trace("fault: the link %d-%d is cut", a, b)
	w.net.cut[a][b] = true
	if w.chance(2) {
		w.net.cut[b][a] = true
	}
	w.mendLater(func() { w.net.cut[a][b], w.net.cut[b][a] = false, false })
}

func (w *world) killSomeQdevice() { w.someQdevice().killQdevice() }
