package qnetd

import (
	"errors"
	"fmt"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/wire"
	"quorate/witness/vote"
)

// serverError refuses a message. A client that gets it exits for good.
func (c *session) serverError(code wire.ErrorCode, seq *uint32) *ending {
	c.send(wire.ServerError{Seq: seq, Code: code})
	return nil
}

func dropped(format string, args ...any) *ending {
	return &ending{witness.GoneDropped, fmt.Sprintf(format, args...)}
}

// handle takes one message; it returns why the connection shall end, or nil.
func (c *session) handle(f wire.Frame) *ending {
	if f.Type.FromServer() {
		return c.serverError(wire.UnexpectedMessage, nil)
	}
	m, err := wire.Decode(f)
	if err != nil {
		return c.undecoded(f, err)
	}
	if end := c.checkTLS(f.Type); end != nil {
		return end
	}
	switch m := m.(type) {
	case wire.Preinit:
		return c.onPreinit(m)
	case wire.StartTLS:
		return c.onStartTLS(m)
	case wire.Init:
		return c.onInit(m)
	}
	if !c.init {
		return c.serverError(wire.InitRequired, seqOf(m))
	}
	if c.waiting.Load() > inMax {
		return dropped("more than %d messages wait for an answer", inMax)
	}
	switch m := m.(type) {
	case wire.EchoRequest:
		if !c.s.contact.fresh() {
			return dropped("no contact with the leader")
		}
		c.send(m.Reply())
		return nil
	case wire.SetOption:
		return c.onSetOption(m)
	case wire.NodeList:
		return c.onNodeList(m)
	case wire.AskForVote:
		c.submit(witness.QnetdOp{Kind: witness.QnetdAsk}, func(r witness.QnetdReply) {
			if !c.refused(r, m.Seq) {
				c.send(wire.AskForVoteReply{Seq: m.Seq, Vote: wire.Vote(r.Vote), Ring: ringOut(r.Ring)})
			}
		})
	case wire.VoteInfoReply:
		c.mu.Lock()
		nacked := m.Seq == c.sent && c.sentAs == vote.NACK
		c.mu.Unlock()
		if nacked {
			c.submit(witness.QnetdOp{Kind: witness.QnetdAnswered, Seq: m.Seq}, func(witness.QnetdReply) {})
		}
	case wire.HeuristicsChange:
		c.submit(witness.QnetdOp{Kind: witness.QnetdHeuristics, Heuristics: vote.Heuristics(m.Heuristics)}, func(r witness.QnetdReply) {
			if !c.refused(r, m.Seq) {
				c.send(wire.HeuristicsChangeReply{Seq: m.Seq, Vote: wire.Vote(r.Vote), Ring: ringOut(r.Ring), Heuristics: m.Heuristics})
			}
		})
	default:
		return c.serverError(wire.UnexpectedMessage, seqOf(m))
	}
	return nil
}

// undecoded answers a message that does not decode, or lacks something.
func (c *session) undecoded(f wire.Frame, err error) *ending {
	code, ok := wire.CodeOf(err)
	if !ok {
		return dropped("%v", err)
	}
	var missing *wire.MissingError
	if !errors.As(err, &missing) {
		return c.serverError(code, nil)
	}
	var seq *uint32
	if missing.HasSeq {
		seq = &missing.Seq
	}
	switch {
	case f.Type == wire.TypePreinit:
		return c.serverError(code, seq)
	case f.Type != wire.TypeInit:
		if end := c.checkTLS(f.Type); end != nil {
			return end
		}
		if !c.init {
			code = wire.InitRequired
		}
		return c.serverError(code, seq)
	}
	if end, ok := c.mayInit(seq); !ok {
		return end
	}
	if !c.preinit {
		code = wire.PreinitRequired
	}
	c.initReply(missing.Seq, code, false)
	return nil
}

// checkTLS asks again with every message of a session whether it is protected as
// the server demands.
func (c *session) checkTLS(t wire.Type) *ending {
	if !c.init || t == wire.TypeInit || t == wire.TypePreinit || t == wire.TypeStartTLS {
		return nil
	}
	if c.s.TLS.Mode == TLSRequired && c.tls == nil {
		return c.serverError(wire.TLSIsRequired, nil)
	}
	return nil
}

func (c *session) onPreinit(m wire.Preinit) *ending {
	if c.init {
		return dropped("PREINIT in a session")
	}
	if c.s.Node.State().QnetdCluster(m.Cluster) == nil {
		return dropped("the cluster %.64q is not declared here: declare it with kind: corosync", m.Cluster)
	}
	c.preinit, c.name = true, m.Cluster
	c.send(wire.PreinitReply{Seq: m.Seq, TLS: c.s.TLS.supported(), CertRequired: c.s.TLS.CertRequired})
	return nil
}

func (c *session) onStartTLS(m wire.StartTLS) *ending {
	switch {
	case !c.preinit:
		return c.serverError(wire.PreinitRequired, &m.Seq)
	case c.s.TLS.Mode == TLSOff || c.s.TLS.Config == nil || c.tls != nil || c.init:
		return c.serverError(wire.UnexpectedMessage, &m.Seq)
	}
	if err := c.startTLS(); err != nil {
		return dropped("TLS: %v", err)
	}
	return nil
}

// mayInit checks what comes before an INIT is looked at.
func (c *session) mayInit(seq *uint32) (*ending, bool) {
	if c.init {
		return dropped("a second INIT"), false
	}
	if c.tls == nil && c.s.TLS.Mode == TLSRequired {
		return c.serverError(wire.TLSIsRequired, seq), false
	}
	if c.tls != nil && c.s.TLS.CertRequired {
		if err := certificate(c.tls, c.name); err != nil {
			return dropped("%v, not of %q", err, c.name), false
		}
	}
	return nil, true
}

func (c *session) onInit(m wire.Init) *ending {
	if end, ok := c.mayInit(&m.Seq); !ok {
		return end
	}
	refuse := func(code wire.ErrorCode) *ending {
		c.initReply(m.Seq, code, m.Hold)
		return nil
	}
	alg := vote.Algorithm(m.Algorithm)
	switch {
	case !c.preinit:
		return refuse(wire.PreinitRequired)
	case m.HeartbeatMS < heartbeatMin || m.HeartbeatMS > heartbeatMax:
		return refuse(wire.InvalidHeartbeatInterval)
	case !alg.Offered():
		return refuse(wire.UnsupportedAlgorithm)
	case m.NodeID == 0:
		return refuse(wire.DoesntContainRequiredOption)
	}
	cl := c.s.Node.State().QnetdCluster(c.name)
	if cl == nil {
		return dropped("the cluster %q is not declared any more", c.name)
	}
	if !c.s.contact.fresh() {
		return dropped("no contact with the leader")
	}
	c.init, c.cluster, c.node, c.hold = true, cl.Name, m.NodeID, m.Hold
	c.hb.Store(m.HeartbeatMS)
	c.alive()
	c.s.strangers.remove(c)
	op := witness.QnetdOp{
		Kind: witness.QnetdInit, Algorithm: alg, TieBreaker: vote.TieBreaker{Mode: uint8(m.TieBreaker.Mode), Node: m.TieBreaker.NodeID},
		Heartbeat: m.HeartbeatMS, Ring: ringIn(m.Ring), Addr: c.addr, TLS: c.tls != nil, Verified: c.tls != nil && certificate(c.tls, c.name) == nil,
		Hold: m.Hold,
	}
	c.submit(op, func(r witness.QnetdReply) {
		c.initReply(m.Seq, wire.ErrorCode(r.Code), m.Hold)
		if r.Code != 0 { // it is no session; the client leaves by itself
			c.hb.Store(0)
			_ = c.raw.SetReadDeadline(time.Now().Add(refusedMax))
		} else {
			c.known.Store(true)
			c.s.Log.Info("qdevice client is connected", "cluster", c.cluster, "node", c.node, "remote", c.addr, "tls", op.TLS, "algorithm", alg.String())
		}
	})
	return nil
}

// initReply answers an INIT. It lists the option of the proxy only to a proxy.
func (c *session) initReply(seq uint32, code wire.ErrorCode, hold bool) {
	options := wire.Options()
	if hold {
		options = append(options, wire.OptHold)
	}
	c.send(wire.InitReply{
		Code: code, Seq: seq, Messages: wire.Types(), Options: options, MaxRequest: wire.MaxMessage, MaxReply: wire.MaxMessage,
		Algorithms: []wire.Algorithm{wire.AlgorithmFFSplit, wire.Algorithm2NodeLMS, wire.AlgorithmLMS},
	})
}

func (c *session) onSetOption(m wire.SetOption) *ending {
	op := witness.QnetdOp{Kind: witness.QnetdOption}
	if hb := m.HeartbeatMS; hb != nil {
		if *hb < heartbeatMin || *hb > heartbeatMax {
			return c.serverError(wire.InvalidHeartbeatInterval, &m.Seq)
		}
		op.Heartbeat = *hb
	}
	if m.KeepActive != nil {
		c.keepActive = *m.KeepActive
	}
	op.KeepActive, op.Hold = c.keepActive, c.hold
	c.submit(op, func(r witness.QnetdReply) {
		if op.Heartbeat != 0 {
			c.hb.Store(op.Heartbeat)
		}
		c.send(wire.SetOptionReply(m))
	})
	return nil
}

func (c *session) onNodeList(m wire.NodeList) *ending {
	if len(m.Nodes) > witness.MaxQuorumNodes { // it would not be taken, and is too much for the log
		return dropped("a list of %d nodes: a cluster has at most %d", len(m.Nodes), witness.MaxQuorumNodes)
	}
	op := witness.QnetdOp{Ring: ringIn(m.Ring), Heuristics: vote.Heuristics(m.Heuristics), Quorate: m.Quorate}
	for _, n := range m.Nodes {
		op.Nodes = append(op.Nodes, n.NodeID)
		if n.State == wire.NodeLeaving {
			op.Leaving = append(op.Leaving, n.NodeID)
		}
	}
	if m.ConfigVersion != nil {
		op.Version = *m.ConfigVersion
	}
	switch m.List {
	case wire.ListInitialConfig, wire.ListChangedConfig:
		op.Kind, op.Initial = witness.QnetdConfig, m.List == wire.ListInitialConfig
	case wire.ListMembership:
		op.Kind = witness.QnetdMembership
	default:
		op.Kind, op.Nodes = witness.QnetdQuorum, nil
	}
	c.submit(op, func(r witness.QnetdReply) {
		if !c.refused(r, m.Seq) {
			c.send(wire.NodeListReply{Seq: m.Seq, List: m.List, Ring: ringOut(r.Ring), Vote: wire.Vote(r.Vote)})
		}
	})
	return nil
}

// refused answers a message that the algorithm does not take.
func (c *session) refused(r witness.QnetdReply, seq uint32) bool {
	if r.Code == 0 {
		return false
	}
	c.send(wire.ServerError{Seq: &seq, Code: wire.ErrorCode(r.Code)})
	return true
}

func ringIn(r wire.RingID) vote.Ring  { return vote.Ring{Node: r.NodeID, Seq: r.Seq} }
func ringOut(r vote.Ring) wire.RingID { return wire.RingID{NodeID: r.Node, Seq: r.Seq} }

// seqOf returns the sequence number of a client's message, for the answer.
func seqOf(m wire.Message) *uint32 {
	var seq uint32
	switch m := m.(type) {
	case wire.SetOption:
		seq = m.Seq
	case wire.NodeList:
		seq = m.Seq
	case wire.AskForVote:
		seq = m.Seq
	case wire.VoteInfoReply:
		seq = m.Seq
	case wire.HeuristicsChange:
		seq = m.Seq
	case wire.EchoRequest:
		n, ok := m.Seq()
		if !ok {
			return nil
		}
		seq = n
	default:
		return nil
	}
	return &seq
}
