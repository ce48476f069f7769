package proxy

import (
	"time"

	"quorate/witness/qnetd/wire"
)

// local is what corosync-qdevice has said. It is what a new witness is told.
type local struct {
	heard     time.Duration // when it last said something
	cluster   bool          // PREINIT was taken
	init      *wire.Init
	welcome   *wire.InitReply // waits for a prompt confirmation
	heartbeat time.Duration

	keepActive *bool
	config     *wire.NodeList
	membership *wire.NodeList
	quorum     *wire.NodeList
	heuristics wire.Heuristics // the newest result

	echoes  []echo
	waiting []waiting // requests of qdevice that are not answered
	voteSeq uint32    // of the last VOTE_INFO to qdevice
	votes   []vote    // those whose answer a witness waits for
}

// echo is a request of qdevice that will be answered.
type echo struct {
	reply wire.EchoReply
	due   time.Duration
}

// waiting is a request of qdevice that a witness has to answer.
type waiting struct {
	seq  uint32
	kind wire.Type
	list wire.ListType
}

// vote is a VOTE_INFO on its way.
type vote struct {
	local    uint32 // its number to qdevice
	link     int
	upstream uint32 // its number from the witness
}

// Bounds of what qdevice can make the proxy hold. The real one has at most one
// echo request and a handful of others under way.
const (
	maxEchoes  = 4
	maxWaiting = 32
	maxVotes   = 32
)

// Limits of corosync-qnetd on heartbeat intervals.
const (
	minHeartbeat = time.Second
	maxHeartbeat = 2 * time.Minute
)

func (c *Core) fromLocal(m wire.Message) {
	if m.Type().FromServer() {
		c.end("the client sent what only a server sends: " + m.Type().String())
		return
	}
	switch m := m.(type) {
	case wire.Preinit:
		c.preinit(m)
		return
	case wire.StartTLS:
		c.end("the client wants TLS on loopback; set tls: off in corosync.conf, the proxy encrypts what leaves the node")
		return
	case wire.Init:
		c.localInit(m)
		return
	}
	if !c.established {
		c.end("the client sent " + m.Type().String() + " before it had a session")
		return
	}
	switch m := m.(type) {
	case wire.EchoRequest:
		if len(c.local.echoes) == maxEchoes {
			c.end("the client sends echo requests without waiting for answers")
			return
		}
		c.local.echoes = append(c.local.echoes, echo{reply: m.Reply(), due: c.now + echoDelay(c.local.heartbeat)})
	case wire.VoteInfoReply:
		c.voteAnswered(m)
	default:
		c.request(m)
	}
}

func (c *Core) preinit(m wire.Preinit) {
	switch {
	case c.local.init != nil:
		c.end("the client sent PREINIT within a session")
	case m.Cluster != c.config.Cluster:
		c.end("the client is of cluster \"" + m.Cluster + "\", but the certificate of this proxy is for \"" + c.config.Cluster + "\"")
	default:
		c.local.cluster = true
		c.sendLocal(wire.PreinitReply{Seq: m.Seq, TLS: wire.TLSUnsupported})
	}
}

func (c *Core) localInit(m wire.Init) {
	heartbeat := time.Duration(m.HeartbeatMS) * time.Millisecond
	switch {
	case !c.local.cluster:
		c.refuse(m, wire.PreinitRequired)
	case c.local.init != nil:
		c.end("the client sent INIT twice")
	case heartbeat < minHeartbeat || Heartbeat(heartbeat, c.config.Lease) > maxHeartbeat:
		c.refuse(m, wire.InvalidHeartbeatInterval)
	default:
		c.local.init, c.local.heartbeat = &m, heartbeat
	}
}

// refuse answers INIT as a server would, and ends.
func (c *Core) refuse(m wire.Init, code wire.ErrorCode) {
	c.sendLocal(wire.InitReply{
		Code: code, Seq: m.Seq, Messages: wire.Types(), Options: wire.Options(), MaxRequest: wire.MaxMessage, MaxReply: wire.MaxMessage,
		Algorithms: []wire.Algorithm{wire.AlgorithmFFSplit, wire.Algorithm2NodeLMS, wire.AlgorithmLMS},
	})
	c.end("the client's INIT is refused: " + code.String())
}

// request remembers what a new witness must be told, and tells the present one.
func (c *Core) request(m wire.Message) {
	if len(c.local.waiting) == maxWaiting {
		c.end("the client sends requests without waiting for answers")
		return
	}
	w := waiting{kind: m.Type()}
	switch m := m.(type) {
	case wire.SetOption:
		w.seq = m.Seq
		if m.HeartbeatMS != nil {
			c.end("the client changes its heartbeat interval, which no known version does")
			return
		}
		if m.KeepActive != nil {
			c.local.keepActive = m.KeepActive
		}
	case wire.NodeList:
		w.seq, w.list = m.Seq, m.List
		switch m.List {
		case wire.ListInitialConfig, wire.ListChangedConfig:
			c.local.config = &m
		case wire.ListMembership:
			c.local.membership, c.local.heuristics = &m, m.Heuristics
		case wire.ListQuorum:
			c.local.quorum = &m
		}
	case wire.HeuristicsChange:
		w.seq, c.local.heuristics = m.Seq, m.Heuristics
	case wire.AskForVote:
		w.seq = m.Seq
	}
	c.local.waiting = append(c.local.waiting, w)
	if l := c.live(); l != nil {
		c.forward(l, m, &w)
	}
}

// vote gives qdevice a vote of a witness. answer is the number under which the
// witness waits for it to be answered; a vote out of a reply has none.
func (c *Core) vote(l *link, v wire.Vote, ring wire.RingID, answer *uint32) {
	c.local.voteSeq++
	if answer != nil {
		if len(c.local.votes) == maxVotes {
			c.local.votes = c.local.votes[1:]
		}
		c.local.votes = append(c.local.votes, vote{local: c.local.voteSeq, link: l.id, upstream: *answer})
	}
	c.sendLocal(wire.VoteInfo{Seq: c.local.voteSeq, Vote: v, Ring: ring})
}

// voteAnswered passes the answer on to the witness that gave the vote, and to no
// other.
func (c *Core) voteAnswered(m wire.VoteInfoReply) {
	for i, v := range c.local.votes {
		if v.local != m.Seq {
			continue
		}
		c.local.votes = append(c.local.votes[:i:i], c.local.votes[i+1:]...)
		if l := c.link(v.link); l != nil {
			c.sendUp(l, wire.VoteInfoReply{Seq: v.upstream})
		}
		return
	}
}

// answered takes a request of qdevice off the list; false = it is not there.
func (c *Core) answered(w waiting) bool {
	for i, x := range c.local.waiting {
		if x == w {
			c.local.waiting = append(c.local.waiting[:i:i], c.local.waiting[i+1:]...)
			return true
		}
	}
	return false
}
