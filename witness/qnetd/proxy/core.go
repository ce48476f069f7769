package proxy

import (
	"fmt"
	"slices"
	"time"

	"quorate/witness/qnetd/wire"
)

// Config is what a core needs to know.
type Config struct {
	Cluster   string        // the name that the certificate is made out to
	Witnesses int           // how many there are to choose from
	Lease     time.Duration // how long the session is kept without a confirmation
}

// DefaultLease is enough for a witness to be missed (2 s), another one to be found
// and, if the lost one was the leader, a leader to be elected, on a machine that
// has other things to do.
const DefaultLease = 8 * time.Second

// Bounds of a lease.
const (
	MinLease = time.Second
	MaxLease = 30 * time.Second
)

// echoDelay is how long the answer to an echo request of qdevice is held back.
// qdevice sends a request every heartbeat interval and gives up when it wants to
// send one and the last is not answered. What it holds after an answer, should
// the proxy stop right then, is two intervals from its request on: the later the
// answer, the less is left. A second remains for qdevice to get it in time.
func echoDelay(heartbeat time.Duration) time.Duration {
	return max(0, min(heartbeat*3/4, heartbeat-time.Second))
}

// margin covers timers and the way of messages on one machine.
const margin = time.Second

// prompt is how old a confirmation may be with which a session of qdevice begins.
// Before its first echo request qdevice holds a vote for two intervals.
const prompt = margin / 2

// Heartbeat is the interval that the proxy announces to the witnesses for a
// qdevice with the given one: twice the announced interval is never less than
// qdevice may hold a vote after the last request that a witness has received.
func Heartbeat(local, lease time.Duration) time.Duration {
	hold := 2*local + max(0, lease-echoDelay(local)) + margin
	return (hold + 1) / 2
}

// handshake is how long qdevice may take from its connection to its INIT.
const handshake = 30 * time.Second

// silence is how long qdevice may say nothing. Witnesses grant a client as much.
func (c *Core) silence() time.Duration {
	if c.local.init == nil {
		return handshake
	}
	return c.local.heartbeat * 9 / 4
}

// Event is something that happened: one of the structs below, or nil if only
// time has passed.
type Event interface{ event() }

// Events. ID is the number of a connection to a witness, given out by [Dial].
type (
	LocalMessage struct{ Message wire.Message }
	LocalClosed  struct{ Why string }
	Ready        struct{ ID int } // connected, and through PREINIT and TLS
	UpMessage    struct {
		ID      int
		Message wire.Message
	}
	UpClosed struct { // also: not connected at all
		ID  int
		Why string
	}
)

func (LocalMessage) event() {}
func (LocalClosed) event()  {}
func (Ready) event()        {}
func (UpMessage) event()    {}
func (UpClosed) event()     {}

// Action is something to do: one of the structs below.
type Action interface{ action() }

// Actions.
type (
	SendLocal  struct{ Message wire.Message }
	CloseLocal struct{ Why string } // the core is done after this step
	Dial       struct{ ID, Witness int }
	SendUp     struct {
		ID      int
		Message wire.Message
	}
	CloseUp struct{ ID int }
	Note    struct { // for the log
		Text string
		Bad  bool
	}
)

func (SendLocal) action()  {}
func (CloseLocal) action() {}
func (Dial) action()       {}
func (SendUp) action()     {}
func (CloseUp) action()    {}
func (Note) action()       {}

// Core is one connection of qdevice, from its beginning to its end. Time is a
// duration since any fixed moment, and never goes back.
type Core struct {
	config Config
	now    time.Duration
	out    []Action
	done   bool

	local local
	links []*link
	next  int       // id of the next link
	peers []witness // to choose from

	established bool          // qdevice has a session
	promised    bool          // the witness reckons with the vote being held
	confirmed   time.Duration // when the last confirmed request was sent
}

// New makes a core at a moment.
func New(config Config, now time.Duration) *Core {
	return &Core{config: config, now: now, peers: make([]witness, config.Witnesses), local: local{heard: now}}
}

// witness is one to choose from.
type witness struct {
	again time.Duration // not to be dialled before
	why   string        // it was last lost
}

// Done says that the core has ended.
func (c *Core) Done() bool { return c.done }

// Step takes an event at a time, and returns what to do, in this order.
func (c *Core) Step(now time.Duration, e Event) []Action {
	if c.done {
		return nil
	}
	c.now, c.out = max(now, c.now), nil
	// What has expired has expired, whatever comes in now: after a pause of the
	// process the answer of a witness may lie here, and be as old as the pause.
	c.expire()
	if !c.done && e != nil {
		c.take(e)
	}
	if !c.done {
		c.work()
	}
	return c.out
}

func (c *Core) take(e Event) {
	switch e := e.(type) {
	case LocalMessage:
		c.local.heard = c.now
		c.fromLocal(e.Message)
	case LocalClosed:
		c.end(e.Why)
	case Ready:
		if l := c.link(e.ID); l != nil && l.state == dialling {
			l.state = ready
		}
	case UpMessage:
		if l := c.link(e.ID); l != nil {
			c.fromWitness(l, e.Message)
		}
	case UpClosed:
		if l := c.link(e.ID); l != nil {
			c.lost(l, e.Why)
		}
	}
}

// expire ends what must not go on.
func (c *Core) expire() {
	switch {
	case c.established && c.now-c.confirmed > c.config.Lease:
		c.end(fmt.Sprintf("no witness has confirmed the session for %v", c.config.Lease))
	case c.now-c.local.heard > c.silence():
		c.end("corosync-qdevice has been silent for longer than a witness would wait")
	}
}

// work does what is due.
func (c *Core) work() {
	for len(c.local.echoes) > 0 && c.local.echoes[0].due <= c.now {
		c.sendLocal(c.local.echoes[0].reply)
		c.local.echoes = c.local.echoes[1:]
	}
	l := c.live()
	if l != nil {
		c.beat(l)
	}
	switch {
	case l != nil && !c.suspect(l):
		c.stopRace()
	case c.racing(l):
		c.race(l)
	}
}

// racing says that another witness is wanted, the present one, if any, being
// suspected. A vote that may not outlive its connection stays with it.
func (c *Core) racing(suspected *link) bool {
	return c.local.cluster && (suspected == nil || c.promised)
}

// end ends everything, qdevice's connection first: it casts a NACK then.
func (c *Core) end(why string) {
	c.do(CloseLocal{Why: why})
	for _, l := range c.links {
		c.do(CloseUp{ID: l.id})
	}
	c.links = nil
	c.done = true
}

// Next is when Step must be called at the latest, event or not.
func (c *Core) Next() time.Duration {
	next := c.local.heard + c.silence() + 1
	at := func(t time.Duration) { next = min(next, t) }
	if c.established {
		at(c.confirmed + c.config.Lease + 1)
	}
	if len(c.local.echoes) > 0 {
		at(c.local.echoes[0].due)
	}
	l := c.live()
	if l != nil {
		at(l.beaten + c.echoInterval())
	}
	switch {
	case l != nil && !c.suspect(l):
		if len(l.echoes) > 0 {
			at(l.echoes[0].at + c.patience())
		}
	case c.racing(l):
		for w := range c.peers {
			if c.wanted(w, l) {
				at(c.peers[w].again)
			}
		}
		if l := c.initing(); l != nil {
			at(l.asked + c.initPatience())
		}
	}
	return max(next, c.now)
}

func (c *Core) do(a Action)              { c.out = append(c.out, a) }
func (c *Core) sendLocal(m wire.Message) { c.do(SendLocal{Message: m}) }
func (c *Core) note(f string, a ...any)  { c.do(Note{Text: fmt.Sprintf(f, a...)}) }
func (c *Core) warn(f string, a ...any)  { c.do(Note{Text: fmt.Sprintf(f, a...), Bad: true}) }
func (c *Core) link(id int) *link        { return c.find(func(l *link) bool { return l.id == id }) }

func (c *Core) live() *link { return c.find(func(l *link) bool { return l.state == live }) }

func (c *Core) initing() *link              { return c.find(func(l *link) bool { return l.state == initing }) }
func (c *Core) echoInterval() time.Duration { return c.config.Lease / 12 }

// patience is how long a witness may take to answer an echo request before others
// are tried; it answers that by itself.
func (c *Core) patience() time.Duration { return c.config.Lease / 6 }

// initPatience is the same for INIT, which needs a leader: whoever else is asked
// needs the same one.
func (c *Core) initPatience() time.Duration { return c.config.Lease * 2 / 3 }

func (c *Core) find(is func(*link) bool) *link {
	if i := slices.IndexFunc(c.links, is); i >= 0 {
		return c.links[i]
	}
	return nil
}
