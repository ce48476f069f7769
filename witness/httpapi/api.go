package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quorate/witness"
)

// Backend is the witness that the API speaks for.
type Backend interface {
	// State returns the state after the last applied entry; it is immutable.
	State() *witness.State
	// Changed returns a channel that is closed when a newer state is there.
	Changed() <-chan struct{}
	// Propose commits a command, through the leader wherever it is. It returns
	// a *witness.Error: no-quorum, or what applying the command answered.
	Propose(ctx context.Context, cmd witness.Command) (witness.Result, error)
	// Barrier waits until State is linearizable; it returns a no-quorum error.
	Barrier(ctx context.Context) error
	// View returns what a decision would be made from now.
	View() witness.View
	// Node returns what this witness knows of itself and of the others.
	Node() NodeInfo
}

// NodeInfo describes a witness as it sees itself.
type NodeInfo struct {
	Name    string
	Site    string
	Version string
	Role    string // leader, follower, candidate
	Leader  string // "" when none is known
	Term    uint64
	Index   uint64        // last applied entry
	Contact time.Duration // age of the last contact with a quorum
	Quorum  bool          // whether that contact is recent enough to act on
	Members []NodeMember  // all witnesses, itself included
}

// NodeMember is one witness as another one sees it.
type NodeMember struct {
	Name  string `json:"name"`
	Peer  string `json:"peer" doc:"address of its peer port"`
	API   string `json:"api,omitempty" doc:"URL of its API, if known"`
	Alive bool   `json:"alive" doc:"heard from lately by the witness that answers"`
	Voter bool   `json:"voter"`
}

// Options says what an API serves. Only Backend is required.
type Options struct {
	Backend Backend
	// Zone returns the RFC 1035 text of a declared zone as it is served.
	Zone    func(zone string) (string, error)
	Metrics http.Handler    // served at /metrics
	Drivers map[string]bool // fence drivers that a configuration may name; nil accepts any
	// CheckDevice returns every fault in the settings of a device; nil looks at
	// none.
	CheckDevice func(witness.Device) error
	// Membership changes the set of witnesses; nil refuses to.
	Membership Membership
	// Secrets seals what must not be in the log in clear; nil leaves it as it is.
	Secrets Secrets
	// FenceWarnings returns what this witness found about the fence devices of a
	// host when it last looked; nil knows of nothing.
	FenceWarnings func(host string) []string
	// FenceTest asks the fence devices of a host whether they could power it off
	// now, from this witness; nil refuses to.
	FenceTest func(ctx context.Context, host string) (FenceTest, error)
	Log       *slog.Logger // default: discard
}

// Limits of the API.
const (
	maxBody     = 64 << 10         // bytes of a request other than a configuration
	maxStreams  = 256              // event streams and waiting requests at a time
	maxWait     = 5 * time.Minute  // how long a request may wait
	bodyTime    = 30 * time.Second // for the body of a request to arrive
	writeTime   = 30 * time.Second // for the client to take one piece of the answer
	proposeTime = 15 * time.Second
)

// API is the handler for all paths. It starts nothing; close its connections
// by ending the base context of the server.
type API struct {
	b       Backend
	opts    Options
	log     *slog.Logger
	mux     *http.ServeMux
	handler http.Handler
	slots   chan struct{}
}

var _ http.Handler = (*API)(nil)

// New returns the API of a witness.
func New(opts Options) *API {
	a := &API{b: opts.Backend, opts: opts, log: opts.Log, mux: http.NewServeMux(), slots: make(chan struct{}, maxStreams)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	cfg := huma.DefaultConfig("Quorate witness", opts.Backend.Node().Version)
	cfg.Info.Description = "One replicated decision: who may run a service, what was powered off, what DNS says, and why."
	cfg.DocsPath, cfg.SchemasPath = "", "" // a documentation page would need a CDN
	cfg.CreateHooks = nil                  // no $schema links in answers
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{a.ownErrors}
	h := humago.New(a.mux, cfg)
	h.UseMiddleware(plainErrors)
	a.routeStatus(h)
	a.routeMembers(h)
	a.routeClusters(h)
	a.routeRoles(h)
	a.routeConfig(h)
	a.routeSecrets(h)
	a.routeFences(h)
	a.routeFenceOrders(h)
	a.routeRequests(h)
	a.routeEvents(h)
	a.routeZones(h)
	a.routeHealth()
	schemas := h.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // the framework's own errors, which nobody gets to see
	delete(schemas, "ErrorDetail")
	a.handler = http.NewCrossOriginProtection().Handler(a.mux)
	return a
}

// ServeHTTP answers one request. Every answer says which witness gave it, at
// which log index, and how many seconds ago it had contact with a quorum.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := a.meta(a.b.State())
	w.Header().Set("Quorate-Node", m.Node)
	w.Header().Set("Quorate-Index", strconv.FormatUint(m.Index, 10))
	w.Header().Set("Quorate-Age", strconv.FormatFloat(m.Age, 'f', 3, 64))
	w.Header().Set("Cache-Control", "no-store")
	dw := &deadlineWriter{w, http.NewResponseController(w)}
	if err := dw.takeBody(r); err != nil {
		panic(http.ErrAbortHandler) // the client is too slow or gone: nobody is there to answer
	}
	a.handler.ServeHTTP(dw, followEvents(r))
}

// NewServer returns a server with the limits that h wants: nothing slow or
// large can hold it up. ctx ends the event streams, so cancel it first when
// shutting down.
func NewServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
