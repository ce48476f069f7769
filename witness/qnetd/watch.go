package qnetd

import (
	"context"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/wire"
	"quorate/witness/vote"
)

const (
	watchPause     = 2 * time.Millisecond // changes that follow each other are looked at together
	reconcileEvery = time.Second
)

// watch sends the votes that the state has for the clients of this witness.
func (s *Server) watch(ctx context.Context) error {
	for {
		changed := s.Node.Changed()
		state := s.Node.State()
		for _, c := range s.list() {
			c.look(state)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		timer := time.NewTimer(watchPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look sends the newest vote of a session if it was not sent yet. A session that
// the state gave to another connection of the same node ends.
func (c *session) look(state *witness.State) {
	if !c.known.Load() || state.Index < c.born.Load() {
		return
	}
	cl := state.Cluster(c.cluster)
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl == c.looked {
		return
	}
	c.looked = cl
	var own *witness.QuorumSession
	if cl != nil && cl.Quorum != nil {
		if n := cl.Quorum.Node(c.node); n != nil && c.s.owns(n.Session, c.conn) {
			own = n.Session
		}
	}
	if own == nil {
		go c.drop(witness.GoneDropped, "another connection of the node took over, or the session is over")
		return
	}
	if own.Want == vote.WaitForReply && cl.Spec.StrictLMS == "yes" && cl.Quorum.Algorithm == vote.LMS && !c.timing {
		c.timing = true
		time.AfterFunc(time.Duration(own.Heartbeat)*time.Millisecond/4, c.lookAgain)
	}
	if own.VoteSeq == c.sent || own.Vote == vote.None {
		return
	}
	if own.Ops > c.answers {
		c.looked = nil // replied looks again
		return
	}
	c.sent, c.sentAs = own.VoteSeq, own.Vote
	c.send(wire.VoteInfo{Seq: own.VoteSeq, Vote: wire.Vote(own.Vote), Ring: ringOut(own.VoteRing)})
}

// replied notes that a message was answered. A vote of the state waits for the
// answers to what the state knows: ASK_LATER or WAIT_FOR_REPLY after an ACK would
// make the client cast nothing for good.
func (c *session) replied(op uint64) {
	if op == 0 {
		return
	}
	c.mu.Lock()
	c.answers = op
	c.mu.Unlock()
	c.look(c.s.Node.State())
}

// lookAgain has a client that waits judged again, as the timer of stock lms does.
func (c *session) lookAgain() {
	c.mu.Lock()
	c.timing, c.looked = false, nil
	c.mu.Unlock()
	if c.ended.Load() == nil {
		c.submit(witness.QnetdOp{Kind: witness.QnetdTimer}, func(witness.QnetdReply) {})
	}
}

func (s *Server) owns(q *witness.QuorumSession, conn uint64) bool {
	return q != nil && q.Owner == s.Node.Name() && q.Boot == s.boot && q.Conn == conn
}

// reconcile ends sessions in the state that this witness does not have: those of
// its former life, and those whose end did not get into the log.
func (s *Server) reconcile(ctx context.Context) error {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.contact.fresh() {
			continue
		}
		former := map[uint64][]witness.QnetdOp{}
		for name, c := range s.Node.State().Clusters() {
			if c.Quorum == nil {
				continue
			}
			for i := range c.Quorum.Nodes {
				q := c.Quorum.Nodes[i].Session
				if q == nil || q.Owner != s.Node.Name() || q.Boot == s.boot && s.has(q.Conn) {
					continue
				}
				former[q.Boot] = append(former[q.Boot], witness.QnetdOp{
					Kind: witness.QnetdDown, Cluster: name, Node: c.Quorum.Nodes[i].ID, Conn: q.Conn, Cause: witness.GoneDropped,
				})
			}
		}
		for boot, ops := range former {
			pctx, cancel := context.WithTimeout(ctx, proposeMax)
			_, err := s.Node.Propose(pctx, witness.QnetdCmd{Owner: s.Node.Name(), Boot: boot, Ops: ops[:min(len(ops), batchMax)]})
			cancel()
			if err != nil {
				s.Log.Debug("sessions of a former life are not ended yet", "sessions", len(ops), "err", err)
			}
		}
	}
}
