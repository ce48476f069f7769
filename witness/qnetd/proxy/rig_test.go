package proxy

import (
	"slices"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

var (
	ring1 = wire.RingID{NodeID: 1, Seq: 9}
	ring2 = wire.RingID{NodeID: 2, Seq: 13}
)

// rig is a core, the time, and what it wanted in the last step.
type rig struct {
	t   *testing.T
	c   *Core
	now time.Duration
	out []Action
}

func newRig(t *testing.T, witnesses int) *rig {
	return &rig{t: t, c: New(Config{Cluster: "lab", Witnesses: witnesses, Lease: DefaultLease}, 0)}
}

func (r *rig) step(e Event) []Action {
	r.t.Helper()
	r.out = r.c.Step(r.now, e)
	if !r.c.Done() && r.c.Next() <= r.now {
		r.t.Fatalf("at %v, after %T: nothing is left to do, but the next step is at %v", r.now, e, r.c.Next())
	}
	return r.out
}

// pass lets time pass, with the steps that the core wants.
func (r *rig) pass(d time.Duration) []Action {
	r.t.Helper()
	var all []Action
	for end := r.now + d; ; {
		next := end
		if !r.c.Done() {
			next = min(next, r.c.Next())
		}
		r.now = next
		all = append(all, r.step(nil)...)
		if r.now >= end {
			r.out = all
			return all
		}
	}
}

func (r *rig) local(m wire.Message) []Action { r.t.Helper(); return r.step(LocalMessage{m}) }
func (r *rig) up(id int, m wire.Message) []Action {
	r.t.Helper()
	return r.step(UpMessage{id, m})
}

// toLocal are the messages to qdevice of the last step or pass.
func (r *rig) toLocal() []wire.Message {
	var out []wire.Message
	for _, a := range r.out {
		if s, is := a.(SendLocal); is {
			out = append(out, s.Message)
		}
	}
	return out
}

// toUp are the messages to a connection.
func (r *rig) toUp(id int) []wire.Message {
	var out []wire.Message
	for _, a := range r.out {
		if s, is := a.(SendUp); is && s.ID == id {
			out = append(out, s.Message)
		}
	}
	return out
}

func (r *rig) dialled() map[int]int { // witness → id
	out := map[int]int{}
	for _, a := range r.out {
		if d, is := a.(Dial); is {
			out[d.Witness] = d.ID
		}
	}
	return out
}

func (r *rig) closed() string {
	for _, a := range r.out {
		if cl, is := a.(CloseLocal); is {
			return cl.Why
		}
	}
	return ""
}

func clientInit() wire.Init {
	return wire.Init{
		Seq: 2, Messages: wire.Types(), Options: wire.Options(), NodeID: 1, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: 8000,
		TieBreaker: wire.TieBreaker{Mode: wire.TieLowest}, Ring: ring1,
	}
}

func reply(seq uint32, hold bool) wire.InitReply {
	options := wire.Options()
	if hold {
		options = append(options, wire.OptHold)
	}
	return wire.InitReply{
		Seq: seq, Messages: wire.Types(), Options: options, MaxRequest: wire.MaxMessage, MaxReply: wire.MaxMessage,
		Algorithms: []wire.Algorithm{wire.AlgorithmFFSplit},
	}
}

// inits returns the INIT among messages.
func inits(t *testing.T, messages []wire.Message) wire.Init {
	t.Helper()
	for _, m := range messages {
		if i, is := m.(wire.Init); is {
			return i
		}
	}
	t.Fatalf("no INIT in %+v", messages)
	return wire.Init{}
}

// start brings a session up, with the first witness, and everything that the
// client says at its beginning; it returns the connection.
func (r *rig) start(hold bool) int {
	r.t.Helper()
	r.local(wire.Preinit{Seq: 1, Cluster: "lab"})
	id, ok := r.dialled()[0]
	if !ok {
		r.t.Fatalf("no witness is dialled: %+v", r.out)
	}
	r.step(Ready{id})
	r.local(clientInit())
	init := inits(r.t, r.toUp(id))
	r.up(id, reply(init.Seq, hold))
	if got := r.toLocal(); len(got) != 0 {
		r.t.Fatalf("without a prompt confirmation the client is answered %+v", got)
	}
	r.answerEchoes(id)
	if got := r.toLocal(); len(got) != 1 || got[0].(wire.InitReply).Seq != 2 || slices.Contains(got[0].(wire.InitReply).Options, wire.OptHold) {
		r.t.Fatalf("the client is answered %+v", got)
	}
	nodes := []wire.NodeInfo{{NodeID: 1}, {NodeID: 2}}
	for _, m := range []wire.Message{
		wire.SetOption{Seq: 3, KeepActive: new(true)},
		wire.NodeList{Seq: 4, List: wire.ListInitialConfig, Nodes: nodes},
		wire.NodeList{Seq: 5, List: wire.ListMembership, Ring: ring1, Nodes: nodes},
		wire.NodeList{Seq: 6, List: wire.ListQuorum, Quorate: true, Nodes: nodes},
	} {
		r.local(m)
		sent := r.toUp(id)
		if len(sent) != 1 || sent[0].Type() != m.Type() {
			r.t.Fatalf("%+v is passed on as %+v: %+v", m, sent, r.out)
		}
		if list, is := sent[0].(wire.NodeList); is {
			r.up(id, wire.NodeListReply{Seq: list.Seq, List: list.List, Ring: ring1, Vote: wire.NoChange})
			if got := r.toLocal(); len(got) != 1 || got[0].(wire.NodeListReply).Seq != m.(wire.NodeList).Seq {
				r.t.Fatalf("%+v is answered %+v", m, got)
			}
		} else {
			r.up(id, wire.SetOptionReply{Seq: sent[0].(wire.SetOption).Seq, KeepActive: new(true)})
		}
	}
	return id
}

// answerEchoes answers the echo requests of the last step or pass.
func (r *rig) answerEchoes(id int) {
	r.t.Helper()
	for _, m := range r.toUp(id) {
		if e, is := m.(wire.EchoRequest); is {
			r.up(id, e.Reply())
		}
	}
}

// idle passes time with a client that beats and a witness that answers.
func (r *rig) idle(id int, d time.Duration) {
	r.t.Helper()
	for end := r.now + d; r.now < end; {
		r.pass(min(end-r.now, 500*time.Millisecond))
		r.answerEchoes(id)
	}
}
