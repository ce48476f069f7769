package proxy

import (
	"fmt"
	"slices"
	"time"

	"quorate/witness/qnetd/wire"
)

// link is a connection to a witness.
type link struct {
	id, witness int
	state       linkState
	seq         uint32
	asked       time.Duration // when INIT was sent
	beaten      time.Duration // when the last echo request was sent
	echoSeq     uint32
	echoes      []sent              // requests that are not answered, oldest first
	replies     map[uint32]*waiting // by sequence number: whose answer it will be; nil = nobody's
}

type sent struct {
	seq uint32
	at  time.Duration
}

type linkState int

const (
	dialling linkState = iota
	ready              // could be asked for a session
	initing            // was asked
	live               // has the session
	draining           // had it: only a NACK counts
)

// redial is the time between two attempts at one witness.
const redial = 500 * time.Millisecond

func (l *link) nextSeq() uint32 { l.seq++; return l.seq }

func (c *Core) sendUp(l *link, m wire.Message) { c.do(SendUp{ID: l.id, Message: m}) }

// beat asks the witness for a confirmation now and then.
func (c *Core) beat(l *link) {
	if c.now-l.beaten < c.echoInterval() {
		return
	}
	l.beaten = c.now
	l.echoSeq++
	l.echoes = append(l.echoes, sent{seq: l.echoSeq, at: c.now})
	c.sendUp(l, wire.NewEchoRequest(l.echoSeq))
}

// suspect says that a witness takes too long.
func (c *Core) suspect(l *link) bool {
	return len(l.echoes) > 0 && c.now-l.echoes[0].at >= c.patience()
}

// wanted says that a witness should be dialled. The suspected one is tried by
// another connection as well: it may be only the old one that is broken.
func (c *Core) wanted(w int, suspected *link) bool {
	for _, l := range c.links {
		if l.witness == w && l.state != draining && l != suspected {
			return false
		}
	}
	return true
}

// race tries all witnesses at once and asks the first that is ready for a
// session. The one that is suspected stays until it is replaced.
func (c *Core) race(suspected *link) {
	if l := c.initing(); l != nil && c.now-l.asked >= c.initPatience() {
		c.lost(l, "it does not answer INIT")
	}
	for w := range c.peers {
		if c.now >= c.peers[w].again && c.wanted(w, suspected) {
			c.peers[w].again = c.now + redial
			l := &link{id: c.next, witness: w, seq: 2} // the handshake has used up 1 and 2
			c.next++
			c.links = append(c.links, l)
			c.do(Dial{ID: l.id, Witness: w})
		}
	}
	l := c.find(func(l *link) bool { return l.state == ready })
	if l == nil || c.initing() != nil || c.local.init == nil {
		return
	}
	if suspected != nil {
		suspected.state = draining
	}
	init := *c.local.init
	init.Seq, init.Hold = l.nextSeq(), true
	init.HeartbeatMS = uint32(Heartbeat(c.local.heartbeat, c.config.Lease).Milliseconds())
	if c.local.membership != nil {
		init.Ring = c.local.membership.Ring
	}
	l.state, l.asked = initing, c.now
	c.sendUp(l, init)
}

// stopRace closes what is not needed any more.
func (c *Core) stopRace() {
	for _, l := range slices.Clone(c.links) {
		if l.state != live {
			c.drop(l)
		}
	}
}

func (c *Core) drop(l *link) {
	c.do(CloseUp{ID: l.id})
	c.links = slices.DeleteFunc(c.links, func(x *link) bool { return x == l })
}

// lost is the end of a connection, from either side.
func (c *Core) lost(l *link, why string) {
	peer := &c.peers[l.witness]
	peer.again = c.now + redial
	c.drop(l)
	if l.state == live {
		c.local.welcome = nil
	}
	if l.state == live && c.established && !c.promised {
		c.end(fmt.Sprintf("witness %d is lost (%s), and it has not promised to reckon with a vote that is held", l.witness, why))
		return
	}
	if l.state != draining && peer.why != why { // an attempt every half second fails for the same reason
		peer.why = why
		c.warn("witness %d is lost: %s", l.witness, why)
	}
}

func (c *Core) fromWitness(l *link, m wire.Message) {
	if e, is := m.(wire.ServerError); is {
		c.lost(l, "it answers SERVER_ERROR "+e.Code.String())
		return
	}
	switch l.state {
	case initing:
		if reply, is := m.(wire.InitReply); is {
			c.initReply(l, reply)
		} else {
			c.lost(l, "it answers INIT with "+m.Type().String())
		}
	case draining:
		if v, is := m.(wire.VoteInfo); is && v.Vote == wire.NACK {
			c.vote(l, v.Vote, v.Ring, &v.Seq)
		}
	case live:
		c.fromLive(l, m)
	default:
		c.lost(l, "it sends "+m.Type().String()+" unasked")
	}
}

func (c *Core) initReply(l *link, m wire.InitReply) {
	switch {
	case m.Seq != l.seq:
		c.lost(l, "its INIT_REPLY is of another request")
		return
	case c.now-l.asked >= c.initPatience(): // the process stood still
		c.lost(l, "its INIT_REPLY came too late")
		return
	case m.Code != wire.NoError && c.established:
		c.lost(l, "it refuses the session: "+m.Code.String())
		return
	case m.Code != wire.NoError:
		m.Seq = c.local.init.Seq
		m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o wire.Option) bool { return o == wire.OptHold })
		c.sendLocal(m)
		c.end(fmt.Sprintf("witness %d refuses the session: %v", l.witness, m.Code))
		return
	}
	l.state, l.beaten = live, c.now-c.echoInterval()
	l.replies = map[uint32]*waiting{}
	c.peers[l.witness].why = ""
	c.confirmed = max(c.confirmed, l.asked)
	c.promised = slices.Contains(m.Options, wire.OptHold)
	if !c.promised {
		c.warn("witness %d does not know held votes: the loss of a witness will end qdevice's connection, as it does without this proxy", l.witness)
	}
	c.note("session with witness %d", l.witness)
	if c.established {
		c.replay(l)
		return
	}
	m.Seq = c.local.init.Seq
	m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o wire.Option) bool { return o == wire.OptHold })
	c.local.welcome = &m // INIT may have taken long, and with it the confirmation is old
}

func (c *Core) fromLive(l *link, m wire.Message) {
	switch m := m.(type) {
	case wire.EchoReply:
		seq, _ := m.Seq()
		if len(l.echoes) == 0 || l.echoes[0].seq != seq {
			c.lost(l, fmt.Sprintf("it answers echo request %d out of turn", seq))
			return
		}
		at := l.echoes[0].at
		c.confirmed = max(c.confirmed, at)
		l.echoes = l.echoes[1:]
		if c.local.welcome != nil && c.now-at <= prompt {
			c.established = true
			c.sendLocal(*c.local.welcome)
			c.local.welcome = nil
		}
	case wire.VoteInfo:
		c.vote(l, m.Vote, m.Ring, &m.Seq)
	case wire.NodeListReply:
		c.reply(l, m.Seq, wire.TypeNodeList, m.Vote, m.Ring, func(w waiting) wire.Message {
			return wire.NodeListReply{Seq: w.seq, List: w.list, Ring: m.Ring, Vote: m.Vote}
		})
	case wire.HeuristicsChangeReply:
		c.reply(l, m.Seq, wire.TypeHeuristicsChange, m.Vote, m.Ring, func(w waiting) wire.Message {
			return wire.HeuristicsChangeReply{Seq: w.seq, Vote: m.Vote, Ring: m.Ring, Heuristics: m.Heuristics}
		})
	case wire.AskForVoteReply:
		c.reply(l, m.Seq, wire.TypeAskForVote, m.Vote, m.Ring, func(w waiting) wire.Message {
			return wire.AskForVoteReply{Seq: w.seq, Vote: m.Vote, Ring: m.Ring}
		})
	case wire.SetOptionReply:
		c.reply(l, m.Seq, wire.TypeSetOption, 0, wire.RingID{}, func(w waiting) wire.Message {
			return wire.SetOptionReply{Seq: w.seq, KeepActive: m.KeepActive}
		})
	default:
		c.lost(l, "it sends "+m.Type().String()+" within a session")
	}
}

// reply passes an answer on to the request of qdevice that it belongs to. If it
// belongs to none, because the proxy itself has asked, an ACK or NACK in it is a
// vote, and anything else leaves the vote as it is.
func (c *Core) reply(l *link, seq uint32, kind wire.Type, v wire.Vote, ring wire.RingID, as func(waiting) wire.Message) {
	w, known := l.replies[seq]
	delete(l.replies, seq)
	switch {
	case !known || w != nil && w.kind != kind:
		c.lost(l, fmt.Sprintf("it answers a %v %d that it was not asked", kind, seq))
	case w != nil && c.answered(*w):
		c.sendLocal(as(*w))
	case v == wire.ACK || v == wire.NACK:
		c.vote(l, v, ring, nil)
	}
}
