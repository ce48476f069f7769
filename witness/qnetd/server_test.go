package qnetd

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/qnetd/wire"
)

// TestErrorCodes has every answer that is an error, and whether the connection
// goes on after it.
func TestErrorCodes(t *testing.T) {
	s, _ := serve(t, nil)
	bad := func(edit func(*wire.Init)) wire.Message {
		m := initOf(1)
		edit(&m)
		return m
	}
	for _, c := range []struct {
		name string
		say  []wire.Message
		raw  []byte
		want wire.ErrorCode
		init bool // in an INIT_REPLY
	}{
		{name: "a message before PREINIT", say: []wire.Message{wire.NewEchoRequest(1)}, want: wire.InitRequired},
		{name: "STARTTLS before PREINIT", say: []wire.Message{wire.StartTLS{Seq: 1}}, want: wire.PreinitRequired},
		{name: "INIT before PREINIT", say: []wire.Message{initOf(1)}, want: wire.PreinitRequired, init: true},
		{name: "STARTTLS without TLS", say: []wire.Message{preinit(), wire.StartTLS{Seq: 2}}, want: wire.UnexpectedMessage},
		{name: "a list before INIT", say: []wire.Message{preinit(), config(2)}, want: wire.InitRequired},
		{name: "a heartbeat too short", say: []wire.Message{preinit(), bad(func(m *wire.Init) { m.HeartbeatMS = 999 })}, want: wire.InvalidHeartbeatInterval, init: true},
		{name: "a heartbeat too long", say: []wire.Message{preinit(), bad(func(m *wire.Init) { m.HeartbeatMS = 120001 })}, want: wire.InvalidHeartbeatInterval, init: true},
		{name: "the algorithm test", say: []wire.Message{preinit(), bad(func(m *wire.Init) { m.Algorithm = wire.AlgorithmTest })}, want: wire.UnsupportedAlgorithm, init: true},
		{name: "an algorithm of the future", say: []wire.Message{preinit(), bad(func(m *wire.Init) { m.Algorithm = 77 })}, want: wire.UnsupportedAlgorithm, init: true},
		{name: "INIT that lacks all", say: []wire.Message{preinit()}, raw: []byte{0, 3, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 2}, want: wire.DoesntContainRequiredOption, init: true},
		{name: "PREINIT without a name", raw: []byte{0, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 1}, want: wire.DoesntContainRequiredOption},
		{name: "an empty body", raw: []byte{0, 0, 0, 0, 0, 0}, want: wire.ErrorDecodingMessage},
		{name: "an option past the end", raw: []byte{0, 0, 0, 0, 0, 5, 0, 0, 0, 9, 1}, want: wire.ErrorDecodingMessage},
		{name: "a message of the server", raw: []byte{0, 1, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 1}, want: wire.UnexpectedMessage},
		{name: "an unknown message", raw: append([]byte{0, 99, 0, 0, 0, 8}, make([]byte, 8)...), want: wire.UnsupportedMessage},
		{name: "a message too long", raw: append([]byte{0, 0, 0, 0, 0x80, 0}, make([]byte, 0x8000)...), want: wire.MessageTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := dial(t, s)
			p.say(c.say...)
			p.raw(c.raw...)
			var code wire.ErrorCode
			if c.init {
				code = hearUntil[wire.InitReply](p).Code
			} else {
				code = hearUntil[wire.ServerError](p).Code
			}
			if code != c.want {
				t.Errorf("%v, want %v", code, c.want)
			}
			p.say(preinit()) // the connection is kept
			hearUntil[wire.PreinitReply](p)
		})
	}
}

// TestCutOff has what ends a connection without an answer: a client that gets a
// SERVER_ERROR would exit for good.
func TestCutOff(t *testing.T) {
	s, _ := serve(t, nil)
	for name, say := range map[string][]wire.Message{
		"a cluster that is not declared": {wire.Preinit{Seq: 1, Cluster: "nosuch"}},
		"a second INIT":                  {preinit(), initOf(1), initOf(1)},
		"PREINIT in a session":           {preinit(), initOf(1), preinit()},
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, s).say(say...)
			for m := p.hear(); m != nil; m = p.hear() {
				if e, ok := m.(wire.ServerError); ok {
					t.Errorf("the server says %v", e.Code)
				}
			}
		})
	}
}

// TestAlgorithmErrors are errors that only the replicated state can tell.
func TestAlgorithmErrors(t *testing.T) {
	s, _ := serve(t, nil)
	one := join(t, s, 1)
	one.say(config(3), wire.NodeList{Seq: 4, List: wire.ListChangedConfig, Nodes: []wire.NodeInfo{{NodeID: 2}}})
	if m := hearUntil[wire.NodeListReply](one); m.Seq != 3 || m.Vote != wire.AskLater {
		t.Errorf("the initial configuration is answered %+v", m)
	}
	if m := hearUntil[wire.ServerError](one); m.Code != wire.InvalidConfigNodeList || m.Seq == nil || *m.Seq != 4 {
		t.Errorf("a configuration without the node itself is answered %+v", m)
	}
	one.say(members(5, wire.RingID{NodeID: 1, Seq: 13}, 2))
	if m := hearUntil[wire.ServerError](one); m.Code != wire.InvalidMembershipNodeList {
		t.Errorf("a membership without the node itself is answered %v", m.Code)
	}
	one.say(wire.AskForVote{Seq: 6})
	if m := hearUntil[wire.ServerError](one); m.Code != wire.UnsupportedAlgorithmMessage {
		t.Errorf("ASK_FOR_VOTE under ffsplit is answered %v", m.Code)
	}
	for want, edit := range map[wire.ErrorCode]func(*wire.Init){
		wire.TieBreakerDiffersFromOtherNodes: func(m *wire.Init) { m.TieBreaker.Mode = wire.TieHighest },
		wire.AlgorithmDiffersFromOtherNodes:  func(m *wire.Init) { m.Algorithm = wire.AlgorithmLMS },
	} {
		m := initOf(2)
		edit(&m)
		p := dial(t, s).say(preinit(), m)
		if r := hearUntil[wire.InitReply](p); r.Code != want {
			t.Errorf("%v, want %v", r.Code, want)
		}
	}
	hb := uint32(1)
	one.say(wire.SetOption{Seq: 7, HeartbeatMS: &hb})
	if m := hearUntil[wire.ServerError](one); m.Code != wire.InvalidHeartbeatInterval {
		t.Errorf("a heartbeat of 1 ms is answered %v", m.Code)
	}
	hb, kap := 9000, true
	one.say(wire.SetOption{Seq: 8, HeartbeatMS: &hb, KeepActive: &kap})
	if m := hearUntil[wire.SetOptionReply](one); m.Seq != 8 || *m.HeartbeatMS != 9000 || !*m.KeepActive {
		t.Errorf("SET_OPTION is answered %+v", m)
	}
}

// TestOneByteAtATime: framing must survive any split.
func TestOneByteAtATime(t *testing.T) {
	s, _ := serve(t, nil)
	p := dial(t, s)
	for _, m := range []wire.Message{preinit(), initOf(1), config(3), members(4, wire.RingID{NodeID: 1, Seq: 9}, 1)} {
		raw, err := wire.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range raw {
			p.raw(b)
		}
	}
	if m := hearUntil[wire.VoteInfo](p); m.Vote != wire.ACK {
		t.Errorf("a lone node is told %v", m.Vote)
	}
}

// TestVoteFollowsAnswers: a witness knows the new state before the answer to the
// message that made it has come back from the leader. A vote must not overtake
// answers: a client that hears ASK_LATER after its ACK casts nothing.
func TestVoteFollowsAnswers(t *testing.T) {
	s, n := serve(t, nil)
	n.mu.Lock()
	n.late = 50 * time.Millisecond
	n.mu.Unlock()
	p := join(t, s, 1)
	p.say(config(3), members(4, wire.RingID{NodeID: 1, Seq: 9}, 1))
	for _, want := range []uint32{3, 4} {
		m, ok := p.hear().(wire.NodeListReply)
		if !ok || m.Seq != want {
			t.Fatalf("before the answer to message %d comes %+v", want, m)
		}
	}
	if m := hearUntil[wire.VoteInfo](p); m.Vote != wire.ACK {
		t.Errorf("a lone node is told %v", m.Vote)
	}
}

// TestEchoIsByteForByte also in an order and with options that no client sends.
func TestEchoIsByteForByte(t *testing.T) {
	s, _ := serve(t, nil)
	p := join(t, s, 1)
	body := []byte{0x70, 1, 0, 3, 1, 2, 3, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff}
	p.raw(append([]byte{0, 8, 0, 0, 0, byte(len(body))}, body...)...)
	if m := hearUntil[wire.EchoReply](p); !bytes.Equal(m.Body, body) {
		t.Errorf("echo of % x is % x", body, m.Body)
	}
}

// TestNoContact: a witness that loses its leader ends its sessions and refuses
// connections; when it has one again, it serves.
func TestNoContact(t *testing.T) {
	s, n := serve(t, nil)
	p := join(t, s, 1)
	n.lead(false)
	for m := p.hear(); m != nil; m = p.hear() {
		if e, ok := m.(wire.ServerError); ok {
			t.Errorf("the server says %v", e.Code)
		}
	}
	until(t, "connections are refused", func() bool {
		c, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	n.lead(true)
	until(t, "connections are taken", func() bool {
		c, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	join(t, s, 1)
	until(t, "the state has the new session", func() bool {
		q := n.State().Cluster("lab").Quorum.Node(1)
		return q != nil && q.Session != nil && s.has(q.Session.Conn)
	})
}

// TestIdleConnections: thousands that say nothing stay within their bounds, and
// in nobody's way.
func TestIdleConnections(t *testing.T) {
	s, _ := serve(t, func(s *Server) { s.Limits = Limits{Strangers: 100, StrangersOfHost: 50} })
	kept := join(t, s, 1)
	for range 300 {
		dial(t, s)
	}
	until(t, "the idle ones make room", func() bool { return len(s.list()) <= 51 })
	join(t, s, 2)
	kept.say(wire.NewEchoRequest(1))
	hearUntil[wire.EchoReply](kept)
}

// TestClientThatDoesNotRead is cut off, and others are served on.
func TestClientThatDoesNotRead(t *testing.T) {
	s, n := serve(t, nil)
	deaf := join(t, s, 1)
	body := append([]byte{0x70, 1, 0x70, 0}, bytes.Repeat([]byte("x"), 0x7000)...)
	echo := append([]byte{0, 8, 0, 0, 0x70, 4}, body...)
	_ = deaf.conn.(*net.TCPConn).SetReadBuffer(4096)
	for range 100000 {
		if _, err := deaf.conn.Write(echo); err != nil {
			break
		}
	}
	until(t, "its session is over", func() bool { return n.State().Cluster("lab").Quorum.Node(1).Session == nil })
	join(t, s, 2)
}

// TestDeadPeer: a silent client is dead after 2.25 heartbeats, not before the two
// after which it gives up itself.
func TestDeadPeer(t *testing.T) {
	for _, hb := range []uint32{1000, 8000, 120000} {
		own := 2 * time.Duration(hb) * time.Millisecond
		if got := witness.PeerLimit(hb); got <= own {
			t.Errorf("HB %d ms: dead after %s, its client gives up after %s", hb, got, own)
		}
		if got := witness.SessionLimit(hb, 5*time.Second); got <= own+5*time.Second {
			t.Errorf("HB %d ms: the leader waits %s for a witness that answers echoes for 5s after its report", hb, got)
		}
	}
	s, n := serve(t, nil)
	p := dial(t, s)
	m := initOf(1)
	m.HeartbeatMS = 1000
	p.say(preinit(), m, config(3), members(4, wire.RingID{NodeID: 1, Seq: 9}, 1))
	hearUntil[wire.VoteInfo](p)
	for p.hear() != nil {
	}
	until(t, "its session is over", func() bool { return n.State().Cluster("lab").Quorum.Node(1).Session == nil })
	if text := lastEvents(n); !strings.Contains(text, "silent for longer than its client waits") {
		t.Errorf("the log does not say why:\n%s", text)
	}
}

func lastEvents(n *soleNode) string {
	var b strings.Builder
	for _, ev := range n.State().Events(0) {
		b.WriteString(ev.Text + "\n")
	}
	return b.String()
}
