package qdevice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// session is one connection.
type session struct {
	d        *Device
	conn     *client.Conn
	sent     view // what the server knows
	echo     uint32
	answered uint32
}

// once runs one session from connect to its end, and returns the next sequence
// number: the counter goes on across connections.
func (d *Device) once(ctx context.Context, seq uint32) (uint32, error) {
	establish, cancel := context.WithTimeout(ctx, d.Heartbeat) // connect_timeout is 0.8 T as well
	defer cancel()
	nc, err := d.connect(establish)
	if err != nil {
		return seq, err
	}
	conn, err := client.Handshake(establish, nc, d.Cluster, d.TLS, seq)
	if err != nil {
		return seq + 2, err
	}
	defer func() { _ = conn.Close() }()
	s := &session{d: d, conn: conn}
	err = s.run(ctx, establish)
	return conn.NextSeq(), err
}

func (s *session) run(ctx, establish context.Context) error {
	seen, changed := s.d.look()
	reply, err := s.conn.Init(establish, wire.Init{
		Messages: wire.Types(), Options: wire.Options(), NodeID: s.d.NodeID, Algorithm: s.d.Algorithm,
		HeartbeatMS: uint32(s.d.Heartbeat.Milliseconds()), TieBreaker: s.d.TieBreaker, Ring: seen.ring,
	})
	if err != nil {
		return err
	}
	s.d.mu.Lock()
	s.d.lastRing = seen.ring
	s.d.sessions++
	s.d.mu.Unlock()
	if err := s.greet(reply, seen); err != nil {
		return err
	}

	received := make(chan error, 1)
	messages := make(chan wire.Message)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			m, err := s.conn.Receive()
			if err != nil {
				received <- err
				return
			}
			select {
			case messages <- m:
			case <-done:
				return
			}
		}
	}()
	tick := time.NewTicker(s.d.Heartbeat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-received:
		case m := <-messages:
			err = s.take(m)
		case <-tick.C:
			err = s.beat()
		case <-changed:
			seen, changed = s.d.look()
			err = s.tell(seen)
		}
		if err != nil {
			return err
		}
	}
}

// greet sends what follows INIT_REPLY in one burst.
func (s *session) greet(reply wire.InitReply, v view) error {
	if slices.Contains(reply.Options, wire.OptKeepActive) {
		if err := s.conn.Send(wire.SetOption{Seq: s.conn.NextSeq(), KeepActive: new(s.d.KeepActive)}); err != nil {
			return err
		}
	}
	if err := s.conn.Send(wire.NodeList{Seq: s.conn.NextSeq(), List: wire.ListInitialConfig, Nodes: infos(s.d.Nodes, 0)}); err != nil {
		return err
	}
	s.sent.heuristics = v.heuristics
	return s.membership(v)
}

func (s *session) membership(v view) error {
	s.d.setCast(0, v.ring, "a new membership waits for its vote")
	s.d.mu.Lock()
	s.d.lastRing = v.ring
	s.d.mu.Unlock()
	s.sent.ring, s.sent.members, s.sent.heuristics = v.ring, v.members, v.heuristics
	err := s.conn.Send(wire.NodeList{
		Seq: s.conn.NextSeq(), List: wire.ListMembership, Ring: v.ring, Nodes: infos(v.members, 0), Heuristics: v.heuristics,
	})
	if err != nil {
		return err
	}
	return s.conn.Send(wire.NodeList{
		Seq: s.conn.NextSeq(), List: wire.ListQuorum, Quorate: v.quorate, Nodes: infos(v.members, wire.NodeMember),
	})
}

// tell sends what has changed.
func (s *session) tell(v view) error {
	if v.ring != s.sent.ring || !slices.Equal(v.members, s.sent.members) {
		return s.membership(v)
	}
	if v.heuristics != s.sent.heuristics && v.heuristics != 0 {
		s.sent.heuristics = v.heuristics
		return s.conn.Send(wire.HeuristicsChange{Seq: s.conn.NextSeq(), Heuristics: v.heuristics})
	}
	return nil
}

func (s *session) beat() error {
	if s.echo != s.answered {
		return errors.New("the server did not answer an echo request within a heartbeat interval")
	}
	s.echo++
	return s.conn.Send(wire.NewEchoRequest(s.echo))
}

func (s *session) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.EchoReply:
		seq, _ := m.Seq()
		if seq != s.echo {
			return fmt.Errorf("the server answers echo request %d as %d", s.echo, seq)
		}
		s.answered = seq
	case wire.NodeListReply:
		s.vote(m.Vote, m.Ring, fmt.Sprintf("reply to NODE_LIST %v", m.List))
	case wire.HeuristicsChangeReply:
		s.vote(m.Vote, m.Ring, "reply to HEURISTICS_CHANGE")
	case wire.VoteInfo:
		s.vote(m.Vote, m.Ring, "VOTE_INFO")
		return s.conn.Send(wire.VoteInfoReply{Seq: m.Seq})
	case wire.ServerError:
		return &client.RefusedError{Code: m.Code, During: m.Type()}
	}
	return nil
}

// vote does what the algorithms of the client do with a vote: one for another
// ring than the last one sent changes nothing.
func (s *session) vote(v wire.Vote, ring wire.RingID, why string) {
	s.d.mu.Lock()
	stale := ring != s.d.lastRing
	s.d.mu.Unlock()
	if stale {
		return
	}
	switch v {
	case wire.ACK, wire.NACK:
		s.d.setCast(v, ring, why)
	case wire.AskLater, wire.WaitForReply:
		s.d.setCast(0, ring, why)
	}
}

func infos(nodes []uint32, state wire.NodeState) []wire.NodeInfo {
	out := make([]wire.NodeInfo, len(nodes))
	for i, n := range nodes {
		out[i] = wire.NodeInfo{NodeID: n, State: state}
	}
	return out
}
