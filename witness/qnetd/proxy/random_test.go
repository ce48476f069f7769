package proxy

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

var seed = flag.Uint64("seed", 0, "replay one schedule of TestRandom")

// TestRandom drives a core through random events and holds it to the rules of
// the package at each step:
//
//   - an ACK reaches qdevice only as a witness that has the session gives it;
//   - a NACK of the witness that has, or had, the session is passed on at once;
//   - an echo request is answered only within the lease;
//   - the answer to a vote goes to the witness that gave it, once qdevice has
//     answered;
//   - beyond the lease there is no connection;
//   - nothing happens after the end, and the core does not spin.
func TestRandom(t *testing.T) {
	first, n := uint64(1), uint64(3000)
	if *seed != 0 {
		first, n = *seed, 1
	}
	ends := map[bool]int{}
	for s := first; s < first+n; s++ {
		ends[schedule(t, s)]++
		if t.Failed() {
			t.Fatalf("replay with -run TestRandom -seed %d", s)
		}
	}
	if n > 1 && (ends[true] < 100 || ends[false] < 100) {
		t.Errorf("of %d schedules %d survived: the test has lost its point", n, ends[false])
	}
}

// watched is what the test itself knows, apart from the core.
type watched struct {
	*rig
	rnd *rand.Rand

	echo, request uint32
	state         map[int]string // of each connection: dialled, ready, asked, session, had
	inits         map[int]wire.Init
	askedAt       map[int]time.Duration
	beats         map[int][]sent
	pending       map[int][]wire.Message // requests to a witness that are not answered
	gave          map[uint32]vote        // VOTE_INFO to qdevice → from whom
	told          []uint32
	session       bool
	confirmed     time.Duration
	voteSeq       uint32
}

func schedule(t *testing.T, seed uint64) (ended bool) {
	w := &watched{
		rig: newRig(t, 3), rnd: rand.New(rand.NewPCG(seed, 4)),
		state: map[int]string{}, inits: map[int]wire.Init{}, askedAt: map[int]time.Duration{}, beats: map[int][]sent{},
		pending: map[int][]wire.Message{}, gave: map[uint32]vote{},
	}
	w.local(wire.Preinit{Seq: 1, Cluster: "lab"})
	w.look(nil, false)
	w.local(clientInit())
	w.look(nil, false)
	for range 150 {
		if w.c.Done() {
			return true
		}
		w.random()
		if t.Failed() {
			return true
		}
	}
	return w.c.Done()
}

func (w *watched) random() {
	switch k := w.rnd.IntN(20); {
	case k == 0 && w.rnd.IntN(8) == 0: // the process stands still: the next event finds it late
		w.now += time.Duration(w.rnd.Int64N(int64(12 * time.Second)))
	case k < 6: // time, mostly short
		step := time.Duration(w.rnd.Int64N(int64(600 * time.Millisecond)))
		if w.rnd.IntN(40) == 0 {
			step = time.Duration(w.rnd.Int64N(int64(9 * time.Second)))
		}
		for end := w.now + step; !w.c.Done(); {
			w.now = min(end, w.c.Next())
			w.step(nil)
			w.look(nil, false)
			if w.now >= end {
				break
			}
		}
	case k < 8:
		w.fromLocal()
	default:
		if id, ok := w.pick(); ok {
			w.fromWitness(id)
		}
	}
}

func (w *watched) pick() (int, bool) {
	var ids []int
	for id := range w.c.next {
		if w.state[id] != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, false
	}
	return ids[w.rnd.IntN(len(ids))], true
}

func (w *watched) fromLocal() {
	if !w.session {
		return
	}
	var m wire.Message
	switch w.rnd.IntN(4) {
	case 0:
		w.echo++
		m = wire.NewEchoRequest(w.echo)
	case 1:
		if len(w.told) == 0 {
			return
		}
		m = wire.VoteInfoReply{Seq: w.told[0]}
		w.told = w.told[1:]
	case 2:
		w.request++
		m = wire.NodeList{Seq: w.request, List: wire.ListType(w.rnd.IntN(4)), Ring: ring2, Nodes: []wire.NodeInfo{{NodeID: 1}}}
	default:
		w.request++
		m = wire.HeuristicsChange{Seq: w.request, Heuristics: wire.HeuristicsPass}
	}
	w.local(m)
	w.look(LocalMessage{m}, false)
}

func (w *watched) fromWitness(id int) {
	var e Event
	switch state := w.state[id]; {
	case w.rnd.IntN(60) == 0:
		e = UpClosed{id, "test"}
		delete(w.state, id)
	case state == "dialled":
		e = Ready{id}
		w.state[id] = "ready"
	case state == "asked":
		m := reply(w.inits[id].Seq, w.rnd.IntN(20) != 0)
		if w.rnd.IntN(30) == 0 {
			m.Code = wire.DuplicateNodeID
		} else {
			w.state[id] = "session"
		}
		e = UpMessage{id, m}
	case state == "session" && w.rnd.IntN(4) == 0, state == "had":
		w.voteSeq++
		e = UpMessage{id, wire.VoteInfo{Seq: w.voteSeq, Vote: wire.Vote(1 + w.rnd.IntN(5)), Ring: ring2}}
	case state == "session" && len(w.beats[id]) > 0 && w.rnd.IntN(2) == 0:
		w.confirmed = max(w.confirmed, w.beats[id][0].at)
		e = UpMessage{id, wire.NewEchoRequest(w.beats[id][0].seq).Reply()}
		w.beats[id] = w.beats[id][1:]
	case state == "session" && len(w.pending[id]) > 0:
		e = UpMessage{id, w.answer(w.pending[id][0])}
		w.pending[id] = w.pending[id][1:]
	default:
		return
	}
	if up, is := e.(UpMessage); is && w.state[id] == "session" {
		if m, is := up.Message.(wire.InitReply); is && m.Code == wire.NoError {
			w.confirmed = max(w.confirmed, w.askedAt[id])
		}
	}
	// What the core may still take for a session is what was one before the step.
	was := w.state[id]
	late := w.c.established && w.now-w.c.confirmed > w.c.config.Lease
	w.step(e)
	if w.c.link(id) == nil {
		delete(w.state, id) // it was closed in this step
	}
	w.look(e, !late && (was == "session" || was == "had"))
}

func (w *watched) answer(m wire.Message) wire.Message {
	v := wire.Vote(1 + w.rnd.IntN(5))
	switch m := m.(type) {
	case wire.NodeList:
		return wire.NodeListReply{Seq: m.Seq, List: m.List, Ring: ring2, Vote: v}
	case wire.HeuristicsChange:
		return wire.HeuristicsChangeReply{Seq: m.Seq, Vote: v, Ring: ring2, Heuristics: m.Heuristics}
	}
	panic(m)
}

// look holds the last step, caused by e, to the rules, and follows it.
func (w *watched) look(e Event, given bool) {
	w.t.Helper()
	said, from := voteOf(e)
	var nacked bool
	for _, a := range w.out {
		switch a := a.(type) {
		case Dial:
			w.state[a.ID] = "dialled"
		case CloseUp:
			delete(w.state, a.ID)
		case SendUp:
			w.sent(a, e)
		case SendLocal:
			if m, is := a.Message.(wire.InitReply); is && m.Code == wire.NoError {
				w.session = true
			}
			got := voteIn(a.Message)
			if got == wire.ACK && (said != wire.ACK || !given || w.state[from] == "had") {
				w.t.Errorf("at %v an ACK that no witness gave: %+v after %+v (%s)", w.now, a.Message, e, w.state[from])
			}
			nacked = nacked || got == wire.NACK
			switch m := a.Message.(type) {
			case wire.EchoReply:
				if w.now-w.confirmed > w.c.config.Lease {
					w.t.Errorf("at %v an echo request is answered, but the last confirmation is of %v", w.now, w.confirmed)
				}
			case wire.VoteInfo:
				w.told = append(w.told, m.Seq)
				if up, is := e.(UpMessage); is {
					if info, is := up.Message.(wire.VoteInfo); is {
						w.gave[m.Seq] = vote{link: up.ID, upstream: info.Seq}
					}
				}
			case wire.ServerError:
				w.t.Errorf("SERVER_ERROR reaches qdevice")
			}
		}
	}
	if said == wire.NACK && given && !nacked && !w.c.Done() && w.state[from] != "" {
		w.t.Errorf("at %v a NACK is not passed on: %+v", w.now, e)
	}
	if !w.c.Done() && w.session && w.now-w.confirmed > w.c.config.Lease {
		w.t.Errorf("at %v qdevice is still connected, but the last confirmation is of %v", w.now, w.confirmed)
	}
}

func (w *watched) sent(a SendUp, e Event) {
	switch m := a.Message.(type) {
	case wire.Init:
		for id, s := range w.state {
			if s == "session" {
				w.state[id] = "had"
			}
		}
		w.inits[a.ID], w.askedAt[a.ID], w.state[a.ID] = m, w.now, "asked"
	case wire.EchoRequest:
		seq, _ := m.Seq()
		w.beats[a.ID] = append(w.beats[a.ID], sent{seq, w.now})
	case wire.NodeList, wire.HeuristicsChange:
		w.pending[a.ID] = append(w.pending[a.ID], m)
	case wire.VoteInfoReply:
		local, is := e.(LocalMessage)
		if !is {
			w.t.Errorf("a vote is answered after %+v, not by qdevice", e)
			return
		}
		want := w.gave[local.Message.(wire.VoteInfoReply).Seq]
		if want.link != a.ID || want.upstream != m.Seq {
			w.t.Errorf("the answer to vote %d of connection %d goes to connection %d as %d", want.upstream, want.link, a.ID, m.Seq)
		}
	}
}

// voteOf is the vote in an event, and the connection it came by.
func voteOf(e Event) (wire.Vote, int) {
	if up, is := e.(UpMessage); is {
		return voteIn(up.Message), up.ID
	}
	return 0, -1
}

func voteIn(m wire.Message) wire.Vote {
	switch m := m.(type) {
	case wire.VoteInfo:
		return m.Vote
	case wire.NodeListReply:
		return m.Vote
	case wire.HeuristicsChangeReply:
		return m.Vote
	}
	return 0
}
