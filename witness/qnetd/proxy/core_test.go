package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

// TestHeartbeat: witnesses wait longer than twice what is announced to them. That
// must cover a proxy that stops right after it has answered qdevice at the very
// end of its lease.
func TestHeartbeat(t *testing.T) {
	for local := minHeartbeat; local <= maxHeartbeat; local += 250 * time.Millisecond {
		for _, lease := range []time.Duration{MinLease, DefaultLease, MaxLease} {
			announced := Heartbeat(local, lease)
			// The last answer leaves echoDelay after the request; qdevice gives up two
			// intervals after the request.
			// Before its first request it gives up two intervals after its INIT_REPLY.
			hold := max(lease+2*local-echoDelay(local), 2*local+prompt)
			if 2*announced < hold+margin/2 || announced < local {
				t.Errorf("heartbeat %v, lease %v: %v is announced, but a vote may be held for %v", local, lease, announced, hold)
			}
			if left := local - echoDelay(local); left < time.Second && local > time.Second {
				t.Errorf("heartbeat %v: qdevice is answered %v before it gives up", local, left)
			}
		}
	}
	if got := Heartbeat(8*time.Second, DefaultLease); got != 9500*time.Millisecond {
		t.Errorf("with corosync's default %v is announced", got)
	}
}

// TestSession is a session in which nothing happens.
func TestSession(t *testing.T) {
	r := newRig(t, 3)
	id := r.start(true)
	r.idle(id, 3*time.Second)
	request := wire.NewEchoRequest(1)
	r.local(request)
	for r.now < 3*time.Second+echoDelay(8*time.Second)-time.Second {
		r.idle(id, 500*time.Millisecond)
	}
	r.up(id, wire.VoteInfo{Seq: 7, Vote: wire.ACK, Ring: ring1})
	got := r.toLocal()
	if len(got) != 1 || got[0] != (wire.VoteInfo{Seq: 1, Vote: wire.ACK, Ring: ring1}) {
		t.Fatalf("an ACK is passed on as %+v", got)
	}
	r.local(wire.VoteInfoReply{Seq: 1})
	if got := r.toUp(id); !slices.Contains(got, wire.Message(wire.VoteInfoReply{Seq: 7})) {
		t.Errorf("the answer is passed on as %+v", got)
	}
	var answered bool
	for range 8 {
		r.pass(500 * time.Millisecond)
		for _, m := range r.toLocal() {
			if e, is := m.(wire.EchoReply); is && string(e.Body) == string(request.Body) {
				answered = true
			}
		}
		r.answerEchoes(id)
	}
	if !answered {
		t.Error("the echo request is not answered")
	}
}

// TestTakeOver is what the proxy is for: its witness is gone, and qdevice does
// not notice.
func TestTakeOver(t *testing.T) {
	for _, how := range []string{"refused", "black-holed"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, 3)
			first := r.start(true)
			r.idle(first, 20*time.Second/3)
			r.up(first, wire.VoteInfo{Seq: 1, Vote: wire.ACK, Ring: ring1})
			r.local(wire.VoteInfoReply{Seq: 1})
			// A membership whose answer never comes.
			r.local(wire.NodeList{Seq: 7, List: wire.ListMembership, Ring: ring2, Nodes: []wire.NodeInfo{{NodeID: 1}}})
			if how == "refused" {
				r.step(UpClosed{first, "reset"})
			} else {
				r.pass(3 * time.Second) // no answer to anything
			}
			dialled := r.dialled()
			second, ok := dialled[1]
			if !ok || r.closed() != "" {
				t.Fatalf("dialled %v, closed %q", dialled, r.closed())
			}
			r.step(Ready{second})
			init := inits(t, r.toUp(second))
			if !init.Hold || init.HeartbeatMS != 9500 || init.Ring != ring2 {
				t.Errorf("INIT to the second: %+v", init)
			}
			if how == "black-holed" {
				// The old witness is heard again: what it gives does not count, what it takes does.
				r.up(first, wire.VoteInfo{Seq: 9, Vote: wire.ACK, Ring: ring2})
				if got := r.toLocal(); len(got) != 0 {
					t.Errorf("an ACK of a witness that was left: %+v", got)
				}
				r.up(first, wire.VoteInfo{Seq: 10, Vote: wire.NACK, Ring: ring1})
				if got := r.toLocal(); len(got) != 1 || got[0] != (wire.VoteInfo{Seq: 2, Vote: wire.NACK, Ring: ring1}) {
					t.Errorf("a NACK of a witness that was left: %+v", got)
				}
				r.local(wire.VoteInfoReply{Seq: 2})
				if got := r.toUp(first); len(got) != 1 || got[0] != (wire.VoteInfoReply{Seq: 10}) {
					t.Errorf("its answer: %+v", got)
				}
			}
			r.up(second, reply(init.Seq, true))
			r.checkReplay(second)
			r.idle(second, 10*time.Second)
			if r.c.Done() {
				t.Error("the session has ended")
			}
		})
	}
}

// checkReplay looks at what a new witness is told, answers it, and looks at what
// qdevice gets to see of that.
func (r *rig) checkReplay(id int) {
	r.t.Helper()
	for _, m := range r.toUp(id) {
		if e, is := m.(wire.EchoRequest); is {
			defer r.up(id, e.Reply())
		}
	}
	told := slices.DeleteFunc(r.toUp(id), func(m wire.Message) bool { return m.Type() == wire.TypeEchoRequest })
	var kinds []string
	for _, m := range told {
		kind := m.Type().String()
		if list, is := m.(wire.NodeList); is {
			kind += " " + list.List.String()
		}
		kinds = append(kinds, kind)
	}
	want := "SET_OPTION, NODE_LIST initial config, NODE_LIST membership, NODE_LIST quorum"
	if got := strings.Join(kinds, ", "); got != want {
		r.t.Fatalf("the new witness is told %s, want %s", got, want)
	}
	r.up(id, wire.SetOptionReply{Seq: told[0].(wire.SetOption).Seq, KeepActive: new(true)})
	for _, m := range told[1:] {
		list := m.(wire.NodeList)
		r.up(id, wire.NodeListReply{Seq: list.Seq, List: list.List, Ring: ring2, Vote: wire.NoChange})
		got := fmt.Sprintf("%+v", r.toLocal())
		want := "[]"
		if list.List == wire.ListMembership { // the only one that qdevice still waits for
			want = fmt.Sprintf("%+v", []wire.Message{wire.NodeListReply{Seq: 7, List: wire.ListMembership, Ring: ring2, Vote: wire.NoChange}})
		}
		if got != want {
			r.t.Errorf("the answer to %v reaches qdevice as %s, want %s", list.List, got, want)
		}
	}
}

func TestLeaseEnds(t *testing.T) {
	r := newRig(t, 3)
	id := r.start(true)
	r.idle(id, 4*time.Second) // the last confirmation is of a request at 3 or 4 s
	r.step(UpClosed{id, "reset"})
	r.pass(2 * time.Second)
	r.local(wire.NewEchoRequest(1)) // to be answered after the end
	r.pass(DefaultLease - 3*time.Second - time.Millisecond)
	if r.c.Done() {
		t.Fatal("the lease is cut short")
	}
	r.pass(time.Second + 2*time.Millisecond)
	if !r.c.Done() || !strings.Contains(r.closed(), "confirmed") {
		t.Errorf("at %v: %+v", r.now, r.out)
	}
	r.pass(10 * time.Second)
	if len(r.out) != 0 {
		t.Errorf("after the end: %+v", r.out)
	}
}

// TestPause: the process stands still, and finds everything that it could want
// when it goes on. It is too late.
func TestPause(t *testing.T) {
	r := newRig(t, 3)
	id := r.start(true)
	r.idle(id, 4*time.Second)
	r.local(wire.NewEchoRequest(1))
	r.pass(time.Second)
	echoes := r.toUp(id)
	r.now += DefaultLease
	r.up(id, echoes[0].(wire.EchoRequest).Reply())
	if !r.c.Done() || len(r.toLocal()) != 0 || r.closed() == "" {
		t.Errorf("after a pause: %+v", r.out)
	}
}

func TestWithoutThePromise(t *testing.T) {
	r := newRig(t, 3)
	id := r.start(false)
	r.idle(id, 10*time.Second)
	r.pass(DefaultLease / 2) // it is slow, and stays the only one
	if len(r.dialled()) != 0 {
		t.Errorf("others are tried: %v", r.dialled())
	}
	r.step(UpClosed{id, "reset"})
	if !r.c.Done() || !strings.Contains(r.closed(), "promised") {
		t.Errorf("%+v", r.out)
	}
}

func TestServerErrorIsNotPassedOn(t *testing.T) {
	r := newRig(t, 3)
	id := r.start(true)
	r.up(id, wire.ServerError{Code: wire.InternalError})
	if len(r.toLocal()) != 0 || r.closed() != "" {
		t.Errorf("%+v", r.out)
	}
	r.pass(time.Second)
	if len(r.toLocal()) != 0 || r.closed() != "" || len(r.dialled()) == 0 {
		t.Errorf("%+v", r.out)
	}
}

// TestSlowInit: an INIT that took long is an old confirmation. qdevice, which holds
// a vote for two intervals before its first echo request, begins with a new one.
func TestSlowInit(t *testing.T) {
	r := newRig(t, 1)
	r.local(wire.Preinit{Seq: 1, Cluster: "lab"})
	id := r.dialled()[0]
	r.local(clientInit())
	r.step(Ready{id})
	init := inits(t, r.toUp(id))
	r.pass(3 * time.Second)
	r.up(id, reply(init.Seq, true))
	if len(r.toLocal()) != 0 {
		t.Errorf("answered at once: %+v", r.toLocal())
	}
	first := r.toUp(id)[0].(wire.EchoRequest)
	r.pass(prompt + time.Millisecond)
	r.up(id, first.Reply())
	if len(r.toLocal()) != 0 {
		t.Errorf("answered with an old confirmation: %+v", r.toLocal())
	}
	r.pass(time.Second)
	r.answerEchoes(id)
	if got := r.toLocal(); len(got) != 1 || got[0].Type() != wire.TypeInitReply {
		t.Errorf("answered %+v", got)
	}
}

func TestRefusedSession(t *testing.T) {
	r := newRig(t, 1)
	r.local(wire.Preinit{Seq: 1, Cluster: "lab"})
	id := r.dialled()[0]
	r.local(clientInit())
	r.step(Ready{id})
	refusal := reply(inits(t, r.toUp(id)).Seq, true)
	refusal.Code = wire.TieBreakerDiffersFromOtherNodes
	r.up(id, refusal)
	got := r.toLocal()
	if len(got) != 1 || got[0].(wire.InitReply).Code != wire.TieBreakerDiffersFromOtherNodes || got[0].(wire.InitReply).Seq != 2 || !r.c.Done() {
		t.Errorf("%+v", r.out)
	}
}

func TestBadClients(t *testing.T) {
	before := map[string]wire.Message{
		"another cluster": wire.Preinit{Seq: 1, Cluster: "other"},
		"TLS":             wire.StartTLS{Seq: 2},
		"a server":        wire.VoteInfo{Seq: 1, Vote: wire.ACK},
		"no PREINIT":      clientInit(),
		"no INIT":         wire.NewEchoRequest(1),
	}
	for name, m := range before {
		r := newRig(t, 1)
		r.local(m)
		if !r.c.Done() || r.closed() == "" {
			t.Errorf("%s: %+v", name, r.out)
		}
	}
	for _, ms := range []uint32{0, 999, 120001} {
		r := newRig(t, 1)
		r.local(wire.Preinit{Seq: 1, Cluster: "lab"})
		init := clientInit()
		init.HeartbeatMS = ms
		r.local(init)
		if got := r.toLocal(); len(got) != 1 || got[0].(wire.InitReply).Code != wire.InvalidHeartbeatInterval || !r.c.Done() {
			t.Errorf("heartbeat %d: %+v", ms, r.out)
		}
	}
	after := map[string]wire.Message{
		"PREINIT again": wire.Preinit{Seq: 1, Cluster: "lab"},
		"INIT again":    clientInit(),
		"a heartbeat":   wire.SetOption{Seq: 9, HeartbeatMS: new(uint32(1000))},
	}
	for name, m := range after {
		r := newRig(t, 1)
		r.start(true)
		r.local(m)
		if !r.c.Done() {
			t.Errorf("%s: %+v", name, r.out)
		}
	}
}

// TestFloods: a client that does not wait for answers is closed, and costs a
// bounded amount until then.
func TestFloods(t *testing.T) {
	for name, m := range map[string]wire.Message{
		"echo": wire.NewEchoRequest(1), "list": wire.NodeList{Seq: 9, List: wire.ListQuorum}, "ask": wire.AskForVote{Seq: 9},
	} {
		r := newRig(t, 1)
		r.start(true)
		n := 0
		for ; !r.c.Done() && n < 1000; n++ {
			r.local(m)
		}
		if !r.c.Done() || n > maxWaiting+1 {
			t.Errorf("%s: still open after %d", name, n)
		}
	}
	r := newRig(t, 1)
	id := r.start(true)
	for i := range uint32(1000) {
		r.up(id, wire.VoteInfo{Seq: i, Vote: wire.NACK, Ring: ring1})
	}
	if len(r.c.local.votes) > maxVotes {
		t.Errorf("%d votes are kept", len(r.c.local.votes))
	}
}

func TestSilentClient(t *testing.T) {
	r := newRig(t, 1)
	id := r.start(true)
	r.idle(id, 17*time.Second)
	if r.c.Done() {
		t.Fatal("closed too early")
	}
	r.idle(id, 2*time.Second)
	if !r.c.Done() {
		t.Error("a qdevice that hangs keeps its session")
	}
}
