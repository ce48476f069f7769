package proxy

import (
	"slices"

	"quorate/witness/qnetd/wire"
)

// forward sends a request under a number of the witness's connection. w is the
// request of qdevice that its answer belongs to, or nil.
func (c *Core) forward(l *link, m wire.Message, w *waiting) {
	seq := l.nextSeq()
	switch x := m.(type) {
	case wire.SetOption:
		x.Seq = seq
		m = x
	case wire.NodeList:
		x.Seq = seq
		m = x
	case wire.HeuristicsChange:
		x.Seq = seq
		m = x
	case wire.AskForVote:
		x.Seq = seq
		m = x
	}
	l.replies[seq] = w
	c.sendUp(l, m)
}

// replay tells a new witness what qdevice has said, in the order in which it
// would after its own INIT. The newest unanswered request of each kind gets the
// answer to the replay of it; older ones are answered with no change.
func (c *Core) replay(l *link) {
	if c.local.keepActive != nil {
		c.forward(l, wire.SetOption{KeepActive: c.local.keepActive}, c.newest(wire.TypeSetOption))
	}
	if c.local.config != nil {
		list := *c.local.config
		list.List = wire.ListInitialConfig
		c.forward(l, list, c.newest(wire.TypeNodeList, wire.ListInitialConfig, wire.ListChangedConfig))
	}
	if c.local.membership != nil {
		list := *c.local.membership
		list.Heuristics = c.local.heuristics
		c.forward(l, list, c.newest(wire.TypeNodeList, wire.ListMembership))
	}
	if c.local.quorum != nil {
		c.forward(l, *c.local.quorum, c.newest(wire.TypeNodeList, wire.ListQuorum))
	}
	if w := c.newest(wire.TypeHeuristicsChange); w != nil {
		c.forward(l, wire.HeuristicsChange{Heuristics: c.local.heuristics}, w)
	}
	if w := c.newest(wire.TypeAskForVote); w != nil {
		c.forward(l, wire.AskForVote{}, w)
	}
	c.answerOld(l)
}

// newest is the newest unanswered request of a kind, or nil.
func (c *Core) newest(kind wire.Type, lists ...wire.ListType) *waiting {
	for _, w := range slices.Backward(c.local.waiting) {
		if w.kind == kind && (len(lists) == 0 || slices.Contains(lists, w.list)) {
			return &w
		}
	}
	return nil
}

// answerOld answers requests that newer ones have overtaken: no change, for the
// membership that qdevice knows.
func (c *Core) answerOld(l *link) {
	asked := map[waiting]bool{}
	for _, w := range l.replies {
		if w != nil {
			asked[*w] = true
		}
	}
	ring := c.local.init.Ring
	if c.local.membership != nil {
		ring = c.local.membership.Ring
	}
	for _, w := range slices.Clone(c.local.waiting) {
		if asked[w] {
			continue
		}
		c.answered(w)
		switch w.kind {
		case wire.TypeSetOption:
			c.sendLocal(wire.SetOptionReply{Seq: w.seq, KeepActive: c.local.keepActive})
		case wire.TypeNodeList:
			c.sendLocal(wire.NodeListReply{Seq: w.seq, List: w.list, Ring: ring, Vote: wire.NoChange})
		case wire.TypeHeuristicsChange:
			c.sendLocal(wire.HeuristicsChangeReply{Seq: w.seq, Vote: wire.NoChange, Ring: ring, Heuristics: c.local.heuristics})
		case wire.TypeAskForVote:
			c.sendLocal(wire.AskForVoteReply{Seq: w.seq, Vote: wire.NoChange, Ring: ring})
		}
	}
}
