package witness_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/vote"
)

// TestVotesOfModelledClients plays clusters whose clients behave as those of
// corosync-qdevice do: they lose sight of each other and of the witnesses, they
// are killed, they come back at once or late; messages wait in every queue, the
// leader changes. After every step all clients that count an ACK must be in one
// partition: it is looked at what clients count, not at what the state says.
func TestVotesOfModelledClients(t *testing.T) {
	last := uint64(300)
	if testing.Short() {
		last = 100
	}
	first := uint64(1)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	moves := 0
	for seed := first; seed <= last; seed++ {
		g := newGame(t, seed)
		for range 1200 {
			g.step()
			g.check()
		}
		g.settle()
		moves += int(g.s.Cluster("lab").Epoch)
	}
	if *seedFlag == 0 && moves < int(last)*5 {
		t.Errorf("the vote moved only %d times in %d games: nothing was tested", moves, last)
	}
}

// game is one cluster and the witnesses' state.
type game struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	s       *witness.State
	index   uint64
	term    uint64
	now     time.Duration
	alg     vote.Algorithm
	keep    bool // keep-active-partition
	sticky  bool // clients keep their ACK when they lose the witnesses
	clients []*modelClient
	seq     uint64 // of rings
	conns   uint64
	trace   []string
}

// modelClient is one node with its qdevice.
type modelClient struct {
	id      uint32
	group   int       // nodes with the same number see each other
	ring    vote.Ring // of its corosync
	members []uint32
	counts  vote.Vote // the vote that its corosync counts for ring; None = it waits
	off     bool
	conn    *modelConn
	killed  bool         // its qdevice was killed: corosync counts its vote for a while
	old     []*modelConn // connections that the witnesses may still hold
}

// modelConn is one connection with what is under way on it.
type modelConn struct {
	conn   uint64
	op     uint64
	init   bool // the client has the answer to its INIT
	dead   bool // the witnesses know that it is over
	toward []witness.QnetdOp
	back   []wireVote
	sent   uint32 // what the owner has put on the wire
}

type wireVote struct {
	seq  uint32
	vote vote.Vote
	ring vote.Ring
}

func newGame(t *testing.T, seed uint64) *game {
	g := &game{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), s: witness.New(), term: 1, seq: 8}
	n := 2 + g.rng.IntN(4)
	alg := []vote.Algorithm{vote.FFSplit, vote.FFSplit, vote.LMS}[g.rng.IntN(3)]
	if n == 2 && g.rng.IntN(5) == 0 {
		alg = vote.TwoNodeLMS
	}
	spec := witness.ClusterSpec{Name: "lab", Kind: witness.KindCorosync, WaitForAll: []string{"", "no"}[g.rng.IntN(2)]}
	g.sticky = alg == vote.TwoNodeLMS || alg == vote.LMS && spec.WaitForAll == ""
	var cfg witness.Config
	for i := range n {
		host := fmt.Sprintf("h%d", i+1)
		cfg.Hosts = append(cfg.Hosts, witness.Host{Name: host, Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
		spec.Members = append(spec.Members, witness.MemberSpec{Name: fmt.Sprintf("n%d", i+1), Host: host, Node: uint32(i + 1)})
		g.clients = append(g.clients, &modelClient{id: uint32(i + 1)})
	}
	cfg.Clusters = []witness.ClusterSpec{spec}
	g.apply(witness.Configure{Config: cfg})
	g.alg, g.keep = alg, g.rng.IntN(2) == 0
	g.rings()
	return g
}

func (g *game) apply(cmd witness.Command) witness.Result {
	g.t.Helper()
	g.now += time.Duration(g.rng.IntN(300)) * time.Millisecond
	stamp := witness.Stamp{Time: g.now}
	raw, err := witness.EncodeCommand(cmd, stamp)
	if err != nil {
		g.t.Fatal(err)
	}
	if cmd, stamp, err = witness.DecodeCommand(raw); err != nil {
		g.t.Fatal(err)
	}
	g.index++
	next, res, _ := g.s.Apply(witness.Entry{Index: g.index, Term: g.term, Stamp: stamp, Cmd: cmd})
	for _, v := range witness.Violations(g.s, next) {
		g.fail("invariant broken: %s", v)
	}
	g.s = next
	return res
}

func (g *game) fail(format string, args ...any) {
	g.t.Helper()
	for _, line := range g.trace[max(0, len(g.trace)-60):] {
		g.t.Log(line)
	}
	g.t.Fatalf("seed %d: %s\nreplay: go test ./witness -run TestVotesOfModelledClients -args -seed %d", g.seed, fmt.Sprintf(format, args...), g.seed)
}

func (g *game) note(format string, args ...any) {
	g.trace = append(g.trace, fmt.Sprintf(format, args...))
}

// rings lets corosync form new memberships by the present groups; every node
// that sees a change tells it, and counts no vote until it is answered.
func (g *game) rings() {
	for _, c := range g.clients {
		var members []uint32
		for _, o := range g.clients {
			if !c.off && !o.off && o.group == c.group {
				members = append(members, o.id)
			}
		}
		if c.off || slices.Equal(members, c.members) && c.ring.Seq != 0 {
			continue
		}
		c.members = members
		c.ring = vote.Ring{Node: members[0], Seq: g.seq}
		c.counts = vote.None
		g.note("node %d: ring %s %v", c.id, c.ring, members)
		g.tellMembers(c)
	}
	g.seq += 4
}

func (g *game) tellMembers(c *modelClient) {
	if c.conn != nil && c.conn.init {
		g.say(c.conn, witness.QnetdOp{Kind: witness.QnetdMembership, Ring: c.ring, Nodes: c.members, Heuristics: vote.Heuristics(g.rng.IntN(3))})
	}
}

func (g *game) say(k *modelConn, op witness.QnetdOp) { k.toward = append(k.toward, op) }

// connect makes a new connection; the client has let go of any other.
func (g *game) connect(c *modelClient) {
	g.conns++
	c.conn = &modelConn{conn: g.conns}
	g.note("node %d: connection %d", c.id, g.conns)
	g.say(c.conn, witness.QnetdOp{Kind: witness.QnetdInit, Algorithm: g.alg, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}, Heartbeat: 8000, Ring: c.ring, Addr: fmt.Sprintf("10.0.0.%d:1", c.id)})
}

// introduce is what a client says once its INIT was answered.
func (g *game) introduce(c *modelClient) {
	var all []uint32
	for _, o := range g.clients {
		all = append(all, o.id)
	}
	g.say(c.conn, witness.QnetdOp{Kind: witness.QnetdOption, KeepActive: g.keep})
	g.say(c.conn, witness.QnetdOp{Kind: witness.QnetdConfig, Nodes: all, Initial: true})
	c.conn.init = true
	g.tellMembers(c)
}

// lose ends a client's connection at its side: ffsplit casts NACK, lms with
// wait_for_all and 2nodelms keep what they have.
func (g *game) lose(c *modelClient) {
	if c.conn == nil {
		return
	}
	c.old = append(c.old, c.conn)
	c.conn = nil
	if !g.sticky {
		c.counts = vote.NACK
	}
}

func (g *game) pick() *modelClient { return g.clients[g.rng.IntN(len(g.clients))] }

// step does one thing that can happen.
func (g *game) step() {
	c := g.pick()
	switch g.rng.IntN(30) {
	case 0: // the network between the nodes changes
		groups := 1 + g.rng.IntN(3)
		for _, o := range g.clients {
			o.group = g.rng.IntN(groups)
		}
		g.note("groups change")
		g.rings()
	case 1: // it ends its session in good order
		if k := c.conn; k != nil && g.rng.IntN(2) == 0 {
			g.note("node %d: closes", c.id)
			g.lose(c)
			g.say(k, witness.QnetdOp{Kind: witness.QnetdDown, Cause: witness.GoneClosed})
		}
	case 2: // it notices that the witnesses are silent; they will find out by time
		if c.conn != nil {
			g.note("node %d: gives up", c.id)
			g.lose(c)
		}
	case 3: // its witness ends the connection, and the client finds out later
		if k := c.conn; k != nil && !k.dead {
			g.note("node %d: dropped", c.id)
			k.toward = nil
			k.back = nil
			g.tell(c, k, witness.QnetdOp{Kind: witness.QnetdDown, Cause: witness.GoneDropped})
		}
	case 4: // its qdevice is killed: the kernel resets the connection
		if k := c.conn; k != nil && g.rng.IntN(2) == 0 {
			g.note("node %d: qdevice killed", c.id)
			counts := c.counts
			g.lose(c)
			c.counts, c.killed = counts, true
			g.say(k, witness.QnetdOp{Kind: witness.QnetdDown, Cause: witness.GoneBroken})
		}
	case 28: // votequorum misses its polls
		if c.killed {
			c.counts, c.killed = vote.None, false
		}
	case 29:
		if c.conn != nil && c.conn.init {
			g.say(c.conn, witness.QnetdOp{Kind: witness.QnetdHeuristics, Heuristics: vote.Heuristics(1 + g.rng.IntN(2))})
		}
	case 5:
		g.term++
	case 6: // power loss; the proof follows at some time
		if !c.off && g.rng.IntN(4) == 0 {
			g.note("node %d: power loss", c.id)
			c.off, c.counts, c.members, c.ring = true, vote.None, nil, vote.Ring{}
			if c.conn != nil {
				c.old = append(c.old, c.conn)
				c.conn = nil
			}
			g.rings()
		}
	case 7:
		if c.off && g.s.Host(fmt.Sprintf("h%d", c.id)).Fenced {
			g.note("node %d: boots", c.id)
			c.off, c.old = false, nil
			g.rings()
		}
	case 8, 9:
		g.expire(c)
	case 10:
		if c.off {
			g.apply(witness.RequestCmd{Request: witness.Request{Kind: witness.RequestConfirmOff, Host: fmt.Sprintf("h%d", c.id), By: "x", Reason: "y"}})
		}
	case 11, 12, 13:
		if c.conn == nil && !c.off && !c.killed {
			g.connect(c)
		}
	case 14, 15, 16, 17, 18, 19, 20, 21, 22:
		g.deliver(c)
	default:
		g.votes(c)
	}
}

// deliver puts the oldest message of a connection, now and then one of an older
// connection, into the log.
func (g *game) deliver(c *modelClient) {
	k := c.conn
	if len(c.old) > 0 && (k == nil || g.rng.IntN(3) == 0) {
		k = c.old[g.rng.IntN(len(c.old))]
	}
	if k == nil || len(k.toward) == 0 {
		return
	}
	op := k.toward[0]
	k.toward = k.toward[1:]
	g.tell(c, k, op)
	if g.rng.IntN(8) == 0 && op.Kind != witness.QnetdInit {
		k.op -= min(k.op, 1)
		g.tell(c, k, op) // the same entry again, after a change of leader
	}
}

func (g *game) tell(c *modelClient, k *modelConn, op witness.QnetdOp) {
	if k.dead {
		return
	}
	op.Cluster, op.Node, op.Conn = "lab", c.id, k.conn
	if op.Kind != witness.QnetdInit && op.Kind != witness.QnetdDown {
		k.op++
		op.Op = k.op
	}
	res := g.apply(witness.QnetdCmd{Owner: fmt.Sprintf("w%d", 1+k.conn%3), Boot: 1, Ops: []witness.QnetdOp{op}})
	r := res.Qnetd[0]
	g.note("  log %d: node %d connection %d %s %s %v: %v", g.index, c.id, k.conn, op.Kind, op.Ring, op.Nodes, r)
	if r.Gone || r.Code != 0 || op.Kind == witness.QnetdDown {
		k.dead = true
	} else if op.Kind == witness.QnetdInit && c.conn == k {
		g.introduce(c)
	}
}

// votes takes votes to the clients: the owner puts the newest on the wire, the
// client heeds it if it is for the ring that it has.
func (g *game) votes(c *modelClient) {
	k := c.conn
	if k == nil {
		return
	}
	n := g.s.Cluster("lab").Quorum.Node(c.id)
	mine := n != nil && n.Session != nil && n.Session.Conn == k.conn
	k.dead = k.dead || k.init && !mine // its owner sees that it is void
	if !k.dead && mine && n.Session.VoteSeq > k.sent {
		k.sent = n.Session.VoteSeq
		k.back = append(k.back, wireVote{n.Session.VoteSeq, n.Session.Vote, n.Session.VoteRing})
	}
	if len(k.back) > 0 && g.rng.IntN(2) == 0 {
		v := k.back[0]
		k.back = k.back[1:]
		if v.ring == c.ring {
			c.counts = v.vote
			g.note("node %d: counts %s for %s", c.id, v.vote, v.ring)
		}
		if v.vote == vote.NACK {
			g.say(k, witness.QnetdOp{Kind: witness.QnetdAnswered, Seq: v.seq})
		}
		return
	}
	if k.dead && len(k.back) == 0 && g.rng.IntN(3) == 0 { // the client reads the end of its connection
		g.lose(c)
	}
}

// expire is the leader's clock. It never ends anything before the client has
// given up, or has lost its power.
func (g *game) expire(c *modelClient) {
	n := g.s.Cluster("lab").Quorum.Node(c.id)
	if n == nil {
		return
	}
	ref := witness.QnetdRef{Cluster: "lab", Node: c.id}
	switch {
	case c.conn != nil && c.conn.init || c.killed:
		return // it has not noticed anything yet, or counts its vote for a while
	case n.Session != nil:
		ref.Index = n.Session.Index
	case n.Gone != nil:
		ref.Index = n.Gone.Index
	default:
		return
	}
	term := g.term
	if g.rng.IntN(6) == 0 {
		term--
	}
	g.note("  expire node %d in term %d of %d", c.id, term, g.term)
	g.apply(witness.QnetdExpire{Items: []witness.QnetdRef{ref}, Term: term})
}

// check: all clients that count an ACK are in one membership.
func (g *game) check() {
	var who *modelClient
	for _, c := range g.clients {
		if c.counts != vote.ACK || c.off {
			continue
		}
		if who != nil && who.ring != c.ring {
			g.fail("nodes %d in ring %s and %d in ring %s both count an ACK (%s, sticky %t)", who.id, who.ring, c.id, c.ring, g.alg, g.sticky)
		}
		who = c
	}
}

// settle lets everything under way arrive with all nodes together: then all of
// them must have the vote.
func (g *game) settle() {
	for _, c := range g.clients {
		if c.off {
			g.apply(witness.RequestCmd{Request: witness.Request{Kind: witness.RequestConfirmOff, Host: fmt.Sprintf("h%d", c.id), By: "x", Reason: "y"}})
			c.off, c.old = false, nil
		}
		c.group = 0
	}
	g.note("settle")
	g.rings()
	for range 400 {
		for _, c := range g.clients {
			if c.conn != nil && c.conn.dead {
				g.lose(c)
			}
			if c.conn == nil {
				c.killed = false
				g.connect(c)
			}
			g.deliver(c)
			g.votes(c)
			g.check()
		}
	}
	for _, c := range g.clients {
		if c.counts != vote.ACK {
			g.fail("all nodes are together and connected, and node %d counts %s: %s", c.id, c.counts, witness.Judge(witness.View{State: g.s, Now: g.now}, "lab").Sentence)
		}
	}
}
