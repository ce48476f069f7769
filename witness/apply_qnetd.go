package witness

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"quorate/witness/vote"
)

// QnetdOp is one thing that a client of the quorum device said, or that became
// of its connection.
type QnetdOp struct {
	Kind    string `json:"k"`
	Cluster string `json:"c"`    // as declared here, not corosync's name for it
	Node    uint32 `json:"n"`    // node id
	Conn    uint64 `json:"conn"` // number of the connection at its witness
	Op      uint64 `json:"op"`   // number of this message in its session, from 1

	Algorithm  vote.Algorithm  `json:"alg,omitempty"`
	TieBreaker vote.TieBreaker `json:"tie"`
	Heartbeat  uint32          `json:"hb,omitempty"` // ms
	Addr       string          `json:"addr,omitempty"`
	TLS        bool            `json:"tls,omitempty"`
	Verified   bool            `json:"verified,omitempty"`
	Hold       bool            `json:"hold,omitempty"` // a proxy: its vote does not end with its connection

	Ring       vote.Ring       `json:"ring"`
	Nodes      []uint32        `json:"nodes,omitempty"`
	Leaving    []uint32        `json:"leaving,omitempty"` // nodes that leave in good order
	Initial    bool            `json:"initial,omitempty"`
	Version    uint64          `json:"version,omitempty"`
	Heuristics vote.Heuristics `json:"heur,omitempty"`
	KeepActive bool            `json:"kap,omitempty"`
	Quorate    bool            `json:"quorate,omitempty"`
	Seq        uint32          `json:"seq,omitempty"`
	Cause      string          `json:"cause,omitempty"`
}

// The kinds of QnetdOp.
const (
	QnetdInit       = "init"
	QnetdOption     = "option"     // keep_active_partition_tie_breaker or a new heartbeat
	QnetdConfig     = "config"     // configured nodes
	QnetdMembership = "membership" // nodes of the membership, its ring, heuristics
	QnetdQuorum     = "quorum"     // whether it is quorate
	QnetdHeuristics = "heuristics"
	QnetdAsk        = "ask"      // for the vote
	QnetdAnswered   = "answered" // a NACK
	QnetdDown       = "down"     // the session ended
	QnetdTimer      = "timer"    // stock lms looks again at a client that waits
)

// QnetdReply is what a client is answered.
type QnetdReply struct {
	Code uint16    `json:"code,omitempty"` // reply error code of the protocol; nothing was stored then
	Vote vote.Vote `json:"vote,omitempty"`
	Ring vote.Ring `json:"ring"`
	Gone bool      `json:"gone,omitempty"` // there is no such session: close the connection
	Why  string    `json:"why,omitempty"`
}

// QnetdRef names a session, or one that ended, by the entry that made or ended it.
type QnetdRef struct {
	Cluster string `json:"c"`
	Node    uint32 `json:"n"`
	Index   uint64 `json:"i"`
}

// QnetdVoting says why the quorum device of a cluster gives no full vote; "" = it
// does again.
type QnetdVoting struct {
	Cluster string `json:"c"`
	Why     string `json:"why,omitempty"`
}

// Reply error codes of the protocol that only the replicated state can tell.
const (
	qnetdTieBreakerDiffers = 15
	qnetdAlgorithmDiffers  = 16
	qnetdDuplicateNode     = 17
)

// MaxQuorumNodes bounds the nodes of a corosync cluster, and every list of them.
const MaxQuorumNodes = 64

// Bounds of what a client can make the state hold.
const (
	maxSwaps   = 3           // sessions of one node id from another address
	swapWindow = time.Minute // within this time
)

func (a *applier) qnetd(cmd QnetdCmd) {
	for i := range cmd.Ops {
		op := &cmd.Ops[i]
		reply := a.qnetdOp(&cmd, op)
		a.res.Qnetd = append(a.res.Qnetd, reply)
		a.extra = fmt.Appendf(a.extra, "%s %s %d %d %d %d %t;", op.Kind, op.Cluster, op.Node, op.Op, reply.Code, reply.Vote, reply.Gone)
	}
}

var gone = QnetdReply{Gone: true}

func (a *applier) qnetdOp(cmd *QnetdCmd, op *QnetdOp) QnetdReply {
	c := a.s.Cluster(op.Cluster)
	if c == nil || c.Quorum == nil {
		return QnetdReply{Gone: true, Why: "there is no corosync cluster " + op.Cluster}
	}
	c = a.copyOf(op.Cluster)
	c.Quorum = c.Quorum.clone()
	if op.Kind == QnetdInit {
		return a.qnetdInit(cmd, op, c)
	}
	n := c.Quorum.Node(op.Node)
	if n == nil || n.Session == nil || n.Session.Owner != cmd.Owner || n.Session.Boot != cmd.Boot || n.Session.Conn != op.Conn {
		return gone
	}
	s := n.Session
	if op.Kind == QnetdDown {
		a.endSession(c, n, s.downCause(op.Cause))
		a.put(c, true)
		return gone
	}
	if op.Op <= s.Ops {
		return QnetdReply{Vote: vote.NoChange, Ring: s.Ring} // the same message again
	}
	s.Ops, s.Stale = op.Op, false
	told := s.VoteSeq
	reply := a.qnetdMessage(op, c, n)
	if reply.Code == 0 && reply.Vote != vote.None && s.VoteSeq == told { // a vote of its own follows the answer
		s.Said = reply.Vote
	}
	reply.Ring = s.Ring
	a.put(c, op.Kind != QnetdQuorum)
	return reply
}

// qnetdMessage takes what a connected client said.
func (a *applier) qnetdMessage(op *QnetdOp, c *Cluster, n *QuorumNode) QnetdReply {
	s, alg := n.Session, c.Quorum.Algorithm
	switch op.Kind {
	case QnetdOption:
		s.KeepActive, s.Hold = op.KeepActive, op.Hold
		if op.Heartbeat != 0 {
			s.Heartbeat = op.Heartbeat
		}
	case QnetdConfig:
		if code := alg.CheckConfig(n.ID, op.Nodes); code != 0 || len(op.Nodes) > MaxQuorumNodes {
			return QnetdReply{Code: max(code, vote.CodeInvalidConfigList)}
		}
		s.Config, s.ConfigVersion = op.Nodes, op.Version
		switch {
		case alg != vote.FFSplit:
			return QnetdReply{Vote: vote.NoChange}
		case op.Initial || len(s.Members) == 0:
			return QnetdReply{Vote: vote.AskLater}
		}
		return a.cast(c, n)
	case QnetdMembership:
		return a.qnetdMembership(op, c, n)
	case QnetdQuorum:
		n.Quorate = op.Quorate
		for _, id := range op.Leaving {
			a.left(c, id)
		}
		if c.strict() && len(s.Members) > 0 {
			return a.castStrict(c, n, c.Quorum.Ballot(), s.Ring)
		}
		// corosync has been seen to count an ACK of before once more after a NACK,
		// until its qdevice casts the NACK again: half a timeout later by itself,
		// at once if it is told.
		if op.Quorate && s.Want == vote.NACK && s.Vote == vote.NACK && s.Answered {
			a.tell(n, vote.NACK)
		}
		return QnetdReply{Vote: vote.NoChange}
	case QnetdHeuristics:
		s.Regular, s.Heuristics = op.Heuristics, op.Heuristics
		switch {
		case alg != vote.FFSplit:
			return QnetdReply{Vote: vote.NoChange}
		case len(s.Config) == 0 || len(s.Members) == 0:
			return QnetdReply{Vote: vote.AskLater}
		}
		return a.cast(c, n)
	case QnetdTimer:
		if c.strict() && s.Want == vote.WaitForReply {
			return a.castStrict(c, n, c.Quorum.Ballot(), s.Ring)
		}
	case QnetdAsk:
		if alg == vote.FFSplit {
			return QnetdReply{Code: 14}
		}
		if n.Last == vote.None {
			return QnetdReply{Vote: vote.AskLater}
		}
		return QnetdReply{Vote: vote.NoChange}
	case QnetdAnswered:
		if op.Seq == s.VoteSeq && s.Vote == vote.NACK && !s.Answered {
			s.Answered = true
			if s.VoteRing == s.Ring { // it heeds a vote for another ring as no vote
				n.May, n.Gone = false, nil
			}
			a.advance(c)
		}
	}
	return QnetdReply{}
}

func (a *applier) qnetdMembership(op *QnetdOp, c *Cluster, n *QuorumNode) QnetdReply {
	s, q := n.Session, c.Quorum
	if code := q.Algorithm.CheckMembers(n.ID, op.Nodes); code != 0 || len(op.Nodes) > MaxQuorumNodes {
		return QnetdReply{Code: max(code, vote.CodeInvalidMembershipList)}
	}
	before := q.Ballot()
	s.Members, s.Ring = op.Nodes, op.Ring
	s.AtMembership, s.Heuristics = op.Heuristics, op.Heuristics
	if c.strict() {
		return a.castStrict(c, n, before, op.Ring)
	}
	if q.Algorithm == vote.FFSplit && len(s.Config) == 0 {
		return QnetdReply{Vote: vote.AskLater}
	}
	return a.cast(c, n)
}

// qnetdInit takes a new session, in place of one that the same node had.
func (a *applier) qnetdInit(cmd *QnetdCmd, op *QnetdOp, c *Cluster) QnetdReply {
	q := c.Quorum
	old := q.Node(op.Node)
	if old != nil && old.Session != nil && old.Session.Owner == cmd.Owner && old.Session.Boot == cmd.Boot && old.Session.Conn == op.Conn {
		return QnetdReply{Ring: old.Session.Ring} // the same message again
	}
	if !op.Algorithm.Offered() {
		return QnetdReply{Code: vote.CodeUnsupportedAlgorithm}
	}
	for _, n := range q.Connected() {
		switch {
		case n.ID == op.Node:
		case q.TieBreaker != op.TieBreaker:
			return QnetdReply{Code: qnetdTieBreakerDiffers}
		case q.Algorithm != op.Algorithm:
			return QnetdReply{Code: qnetdAlgorithmDiffers}
		}
	}
	if old == nil && len(q.Nodes) >= MaxQuorumNodes { // ids of the past make room
		q.Nodes = slices.DeleteFunc(q.Nodes, func(n QuorumNode) bool {
			return n.Session == nil && !n.May && n.Lost == 0 && c.Spec.NodeHost(n.ID) == ""
		})
	}
	if old == nil && len(q.Nodes) >= MaxQuorumNodes {
		return QnetdReply{Gone: true, Why: fmt.Sprintf("%s has %d nodes already", c.Name, len(q.Nodes))}
	}
	n := q.grow(op.Node)
	second := n.Session != nil || n.May
	if !n.meet(cmd.Owner, cmd.Boot, op.Conn) {
		return QnetdReply{Gone: true, Why: "the node has had a newer connection to this witness"}
	}
	if n.Session != nil && !a.supersede(c, n, op) {
		a.put(c, false)
		return QnetdReply{Code: qnetdDuplicateNode, Why: fmt.Sprintf("node %d of %s is connected from %s", n.ID, c.Name, n.Session.Addr)}
	}
	if n.Session == nil && (n.Left || !slices.Contains(q.Partition, n.ID)) {
		n.Last = vote.None // a newcomer; a holder whose witness was lost is none
	}
	q.Orders++
	q.Algorithm, q.TieBreaker = op.Algorithm, op.TieBreaker
	n.Left, n.Gone = false, nil // what it may still count is the new session's to answer for
	n.Session = &QuorumSession{
		Owner: cmd.Owner, Boot: cmd.Boot, Conn: op.Conn, Index: a.e.Index, Order: q.Orders, Since: a.s.Now, Wall: a.s.Wall,
		Addr: op.Addr, TLS: op.TLS, Verified: op.Verified, Heartbeat: op.Heartbeat, Ring: op.Ring, Hold: op.Hold, Stale: second,
	}
	if host := c.Spec.NodeHost(n.ID); host != "" && a.s.Host(host).Fenced {
		a.poweredOn(host)
		a.event(Event{Kind: "host-returned", Host: host, Cluster: c.Name, Text: host + " is on again: its qdevice reports"})
	}
	a.event(Event{
		Kind: "qnetd-connected", Cluster: c.Name, Host: c.Spec.NodeHost(n.ID), Epoch: c.Epoch,
		Text: fmt.Sprintf("%s of %s is connected to %s from %s (%s)", c.Spec.NodeName(n.ID), c.Name, cmd.Owner, op.Addr, op.Algorithm),
	})
	a.rerun(c)
	a.put(c, true)
	return QnetdReply{Ring: op.Ring}
}

// supersede says whether a session may take the place of the one that its node
// has: over TLS with the cluster's certificate, or from the same address. The
// ACK that the node may count goes over to the new session. Two machines with
// one node id would take turns for ever: that is noticed.
func (a *applier) supersede(c *Cluster, n *QuorumNode, op *QnetdOp) bool {
	moved := host(op.Addr) != host(n.Session.Addr)
	if moved && !op.Verified {
		return false
	}
	if moved {
		n.Swaps = slices.DeleteFunc(slices.Clone(n.Swaps), func(t Time) bool { return a.s.Now-t > swapWindow })
		if len(n.Swaps) >= maxSwaps {
			a.event(Event{
				Kind: "qnetd-duplicate", Level: LevelAlert, Cluster: c.Name, Host: c.Spec.NodeHost(n.ID), Rule: "qnetd.duplicate",
				Text: fmt.Sprintf("node id %d of %s is used from %s and from %s in turn: two machines have the same nodeid; the second is refused", n.ID, c.Name, host(n.Session.Addr), host(op.Addr)),
			})
			return false
		}
		n.Swaps = append(n.Swaps, a.s.Now)
	}
	a.event(Event{
		Kind: "qnetd-superseded", Cluster: c.Name, Host: c.Spec.NodeHost(n.ID), Epoch: c.Epoch,
		Text: fmt.Sprintf("%s of %s connects anew; its connection to %s is void", c.Spec.NodeName(n.ID), c.Name, n.Session.Owner),
	})
	return true
}

// host returns the address of a client without its port.
func host(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	return ap.Addr().Unmap().String()
}

// endSession ends a node's session and lets the others vote anew.
func (a *applier) endSession(c *Cluster, n *QuorumNode, cause string) {
	s, q := n.Session, c.Quorum
	if s == nil {
		return
	}
	sticky := c.Spec.sticky(q.Algorithm) && cause != gonePower
	n.Session = nil
	n.Left = cause == GoneClosed
	g := &QuorumGone{Index: a.e.Index, Cause: cause, Heartbeat: s.Heartbeat, Sticky: sticky}
	switch {
	case !n.May:
	case sticky || g.Void() > 0:
		n.Gone = g
	default:
		n.May, n.Gone = false, nil
	}
	level := LevelWarn
	if n.Left {
		level = LevelInfo
	}
	a.event(Event{
		Kind: "qnetd-disconnected", Level: level, Cluster: c.Name, Host: c.Spec.NodeHost(n.ID), Epoch: c.Epoch,
		Text: fmt.Sprintf("%s of %s is not connected any more: %s", c.Spec.NodeName(n.ID), c.Name, goneText(cause)),
	})
	a.rerun(c)
}

// downCause is what the end of a session, as its witness saw it, says of the vote.
func (s *QuorumSession) downCause(seen string) string {
	switch {
	case s.Stale: // nothing: the other session may be the one that lives
		return goneStale
	case s.Hold && seen != GoneExpired:
		return goneHeld
	case seen == GoneClosed || seen == GoneBroken || seen == GoneExpired:
		return seen
	}
	return GoneDropped
}

func goneText(cause string) string {
	switch cause {
	case GoneClosed:
		return "it ended its session"
	case GoneBroken:
		return "the connection broke"
	case GoneExpired:
		return "silent for longer than its client waits"
	case gonePower:
		return "it is proven off"
	case goneStale:
		return "nothing was heard on it; the session that it took the place of may be the newer one"
	case goneHeld:
		return "its proxy takes the vote to another connection"
	}
	return "its connection was ended, and its client may not know yet"
}

// left notes that the others saw a node leave in good order: its votes are gone.
func (a *applier) left(c *Cluster, id uint32) {
	n := c.Quorum.Node(id)
	if n == nil || n.Session != nil {
		return // it still talks to us itself
	}
	n.Left = true
	a.void(c, n)
}

// void takes the ACK from a node that is not connected.
func (a *applier) void(c *Cluster, n *QuorumNode) {
	if !n.May {
		return
	}
	n.May, n.Gone = false, nil
	a.advance(c)
}

// qnetdExpire ends what the leader saw expire.
func (a *applier) qnetdExpire(cmd QnetdExpire) {
	if cmd.Term != a.e.Term {
		a.res.Err = errorf(CodeConflict, "sessions were watched in term %d, this is term %d", cmd.Term, a.e.Term)
		return
	}
	for _, ref := range cmd.Items {
		c := a.s.Cluster(ref.Cluster)
		if c == nil || c.Quorum == nil {
			continue
		}
		c = a.copyOf(ref.Cluster)
		c.Quorum = c.Quorum.clone()
		n := c.Quorum.Node(ref.Node)
		switch {
		case n == nil:
			continue
		case n.Session != nil && n.Session.Index == ref.Index:
			a.endSession(c, n, GoneExpired)
		case n.Session == nil && n.Gone != nil && n.Gone.Index == ref.Index && !n.Gone.Sticky:
			a.void(c, n)
		default:
			continue
		}
		a.extra = fmt.Appendf(a.extra, "expire %s %d;", ref.Cluster, ref.Node)
		a.put(c, true)
	}
}

// qnetdAlert marks clusters whose device gives no full vote, or does again.
func (a *applier) qnetdAlert(cmd QnetdAlert) {
	for _, item := range cmd.Items {
		c := a.s.Cluster(item.Cluster)
		why := text([]byte(item.Why))
		if c == nil || c.Quorum == nil || c.Quorum.NotVoting == why {
			continue
		}
		c = a.copyOf(item.Cluster)
		c.Quorum = c.Quorum.clone()
		c.Quorum.NotVoting = why
		if why == "" {
			a.event(Event{Kind: "qnetd-voting", Cluster: c.Name, Epoch: c.Epoch, Text: c.Name + " has its quorum device again: all its nodes are connected"})
		} else {
			a.event(Event{
				Kind: "qnetd-not-voting", Level: LevelAlert, Cluster: c.Name, Epoch: c.Epoch, Rule: "qnetd.voting",
				Text: fmt.Sprintf("the quorum device of %s gives no full vote: %s; look at corosync-qdevice there, and at the firewall for port 5403", c.Name, why),
			})
		}
		a.put(c, false)
	}
}

// quorumOff follows the proof that a node's host is off.
func (a *applier) quorumOff(name, member string) {
	c := a.copyOf(name)
	c.Quorum = c.Quorum.clone()
	spec := c.Spec.Member(member)
	n := c.Quorum.Node(spec.Node)
	if n == nil {
		return
	}
	a.phase(c, "proven-off", spec.Host+" is proven off")
	if n.Session != nil {
		a.endSession(c, n, gonePower)
	}
	a.void(c, n)
	n.Lost, n.Attempts, n.RetryAt = 0, 0, 0 // also if the vote went to others by this very proof
	a.put(c, true)
}

// quorumUnproven sends a loser into its next attempt, later each time.
func (a *applier) quorumUnproven(act *Action) {
	ref, ok := a.s.members[act.Host]
	if !ok || a.s.Cluster(ref.cluster).Quorum == nil {
		return
	}
	c := a.copyOf(ref.cluster)
	c.Quorum = c.Quorum.clone()
	n := c.Quorum.Node(c.Spec.Member(ref.member).Node)
	if n == nil {
		return
	}
	n.Attempts++
	n.RetryAt = a.s.Now + fenceBackoff(n.Attempts)
	a.put(c, true)
}
