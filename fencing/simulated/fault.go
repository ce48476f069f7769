package simulated

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault is a way in which the BMC misbehaves.
type Fault string

// The faults. Several may be set at once.
const (
	StallConnect      Fault = "stall-connect"        // accepts connections and says nothing, not even TLS
	StallTLS          Fault = "stall-tls"            // completes TLS and never answers
	StallPost         Fault = "stall-post"           // carries an action out and never answers it; reads are answered
	StallAfterPost    Fault = "stall-after-post"     // carries an action out, answers it, and then nothing any more
	VanishAfterPost   Fault = "vanish-after-post"    // carries an action out, answers it, and then refuses every connection
	Unauthorized      Fault = "unauthorized"         // 401 to everything that needs a login
	Forbidden         Fault = "forbidden"            // 403 to actions
	ConflictWhenOff   Fault = "conflict-when-off"    // 409 to ForceOff when off (iDRAC)
	BadRequestWhenOff Fault = "bad-request-when-off" // 400 to ForceOff when off (iLO)
	RefuseIfMatch     Fault = "refuse-if-match"      // 412 to actions with If-Match (iDRAC10)
	RequireIfMatch    Fault = "require-if-match"     // 428 to actions without the current ETag in If-Match
	WantIfMatch412    Fault = "want-if-match-412"    // the same, but with 412
	ServerError       Fault = "server-error"         // 500 to actions, not carried out
	ErrorButActs      Fault = "error-but-acts"       // 500 to actions, carried out all the same
	Lie               Fault = "lie"                  // 204 to actions, not carried out
	StuckPoweringOff  Fault = "stuck-powering-off"   // goes to PoweringOff and stays there
	StatePaused       Fault = "state-paused"         // PowerState is Paused
	StateNull         Fault = "state-null"           // PowerState is null
	EmptyBody         Fault = "empty-body"           // 200 without a body to reads in mid-transition
	EmptyBodyAlways   Fault = "empty-body-always"    // 200 without a body to every read of a system
	NoForceOff        Fault = "no-force-off"         // lists reset types without ForceOff, and refuses it
	NoValues          Fault = "no-values"            // lists no reset types at all
	ReportsOff        Fault = "reports-off"          // says Off while the machine runs
	FlickersOff       Fault = "flickers-off"         // says Off at every other read while the machine runs
	SessionsFull      Fault = "sessions-full"        // 503 to a login by session
	NoSessions        Fault = "no-sessions"          // the service root links to no sessions
	ConflictOnOn      Fault = "conflict-on-on"       // 409 to the first two On after an off (iDRAC10)
	SessionLost       Fault = "session-lost"         // forgets every session at the first action, and answers 401 to its token
	AcceptTask        Fault = "accept-task"          // 202 with a task to actions, carried out
	TaskFails         Fault = "task-fails"           // 202 with a task to actions, not carried out
	Unavailable       Fault = "unavailable"          // 503 to everything that needs a login
	SlowAnswers       Fault = "slow-answers"         // answers everything, but only after Config.AnswerDelay
)

// Faults are all that exist, those of systems in the order of the list above.
func Faults() []Fault {
	return append([]Fault{
		StallConnect, StallTLS, StallPost, StallAfterPost, VanishAfterPost, Unauthorized, Forbidden, ConflictWhenOff,
		BadRequestWhenOff, RefuseIfMatch, RequireIfMatch, WantIfMatch412, ServerError, ErrorButActs, Lie, StuckPoweringOff, StatePaused,
		StateNull, EmptyBody, EmptyBodyAlways, NoForceOff, NoValues, ReportsOff, FlickersOff, SessionsFull, NoSessions, ConflictOnOn,
		SessionLost, AcceptTask, TaskFails, Unavailable, SlowAnswers,
	}, pduFaults()...)
}

// SetFault replaces the set of faults; without arguments the BMC is healthy again, and reachable if it had vanished.
func (b *BMC) SetFault(faults ...Fault) error {
	for _, f := range faults {
		if !slices.Contains(Faults(), f) {
			return fmt.Errorf("simulated BMC: there is no fault %q; there are %v", f, Faults())
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = map[Fault]bool{}
	for _, f := range faults {
		b.faults[f] = true
	}
	b.gone, b.silent = false, false
	b.broadcast()
	return nil
}

// Fault returns the faults that are set, sorted.
func (b *BMC) Fault() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.faults))
}

// SetDelay changes the time that a machine takes to go off or on.
func (b *BMC) SetDelay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

// Connections is how many were accepted so far.
func (b *BMC) Connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connections
}

// broadcast wakes everything that waits for faults to change. It needs b.mu.
func (b *BMC) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *BMC) has(f Fault) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.faults[f]
}

// hold blocks while stalled says so, until faults change or done is closed.
func (b *BMC) hold(done <-chan struct{}, stalled func() bool) {
	for {
		b.mu.Lock()
		wait, changed := stalled(), b.changed
		b.mu.Unlock()
		if !wait {
			return
		}
		select {
		case <-changed:
		case <-done:
			return
		}
	}
}

// stalls puts the stalling faults before the handler.
func (b *BMC) stalls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.hold(r.Context().Done(), func() bool { return b.faults[StallTLS] || b.silent })
		if b.has(SlowAnswers) {
			b.dawdle(r.Context())
		}
		b.mu.Lock()
		gone := b.gone
		b.mu.Unlock()
		if gone || r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // drops a connection that was open already
		}
		next.ServeHTTP(w, r)
	})
}

// dawdle waits for AnswerDelay, or until the client has gone.
func (b *BMC) dawdle(ctx context.Context) {
	timer := time.NewTimer(b.config.AnswerDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// gate is the listener of a BMC that may stall before TLS, or vanish.
type gate struct {
	net.Listener
	bmc *BMC
}

func (g *gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g.bmc.mu.Lock()
	g.bmc.connections++
	g.bmc.mu.Unlock()
	return &conn{Conn: c, bmc: g.bmc, closed: make(chan struct{})}, nil
}

type conn struct {
	net.Conn
	bmc    *BMC
	once   sync.Once
	closed chan struct{}
}

func (c *conn) Read(p []byte) (int, error) {
	c.bmc.hold(c.closed, func() bool { return c.bmc.faults[StallConnect] })
	c.bmc.mu.Lock()
	gone := c.bmc.gone
	c.bmc.mu.Unlock()
	if gone {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
