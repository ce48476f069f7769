package dnsfailover

import (
	"net/netip"
	"sync"
	"time"
)

// Defaults for values that are left zero.
const (
	DefaultTTL         = 5                // seconds; records and SOA
	DefaultNegativeTTL = 5                // seconds; SOA MINIMUM, RFC 2308
	DefaultNSTTL       = 3600             // seconds; apex NS and the name servers' addresses
	DefaultMaxStale    = 10 * time.Second // managed names
)

// Policy says what to answer for a managed name when there is nothing good to
// answer: no target is left, or the node has had no quorum contact for too long.
type Policy string

// The policies. The empty Policy means the default of the field that holds it.
const (
	// PolicyNoData answers that the name exists and has no such record. Resolvers
	// drop what they have cached: it is the only answer that withdraws a target.
	PolicyNoData Policy = "nodata"
	// PolicyServFail answers SERVFAIL: resolvers ask another name server.
	PolicyServFail Policy = "servfail"
	// PolicyLastGood answers what was last true. A fenced target is left out even so.
	PolicyLastGood Policy = "last-good"
	// PolicyFixed answers the fallback values of the record.
	PolicyFixed Policy = "fixed"
)

func (p Policy) known() bool {
	switch p {
	case "", PolicyNoData, PolicyServFail, PolicyLastGood, PolicyFixed:
		return true
	}
	return false
}

// View is one immutable picture of what to answer, made from the state at one
// log index. Nobody may change a View once a Source has returned it.
type View struct {
	Index uint64
	Zones []Zone
}

// Zone is one zone of a View. Names are fully qualified and lower case.
type Zone struct {
	Name        string
	Serial      uint32 // SOA serial: from the log, the same on every node
	NS          []NameServer
	Admin       string // SOA RNAME, as a domain name
	TTL         uint32 // seconds; of the SOA record
	NegativeTTL uint32 // seconds; SOA MINIMUM
	NSTTL       uint32 // seconds; of NS records and of the name servers' addresses
	Records     []RRset
	Keys        []SigningKey // DNSSEC; none: the zone is not signed
	SignedAt    time.Time    // signatures are valid from about then on; from the log, as Serial
}

// NameServer is one name server of a zone. Addrs are published only when Name
// lies inside the zone.
type NameServer struct {
	Name  string
	Addrs []netip.Addr
}

// RRset is all records of one name and type, static or computed from state.
type RRset struct {
	Name   string // fully qualified in a View; relative to the zone, or "@", is allowed in a ZoneSpec
	Type   uint16 // RFC 1035 TYPE number
	TTL    uint32 // seconds
	Values []string
	// Managed marks a set that follows the state of a cluster. The remaining
	// fields have a meaning only for managed sets.
	Managed  bool
	Epoch    uint64
	Cluster  string
	Role     string
	Fallback []string // values for PolicyFixed
	// WhenEmpty applies when Values is empty: nodata (default), servfail, fixed.
	WhenEmpty Policy
	// MaxStale is how long after the last quorum contact the values may still be
	// answered; 0 means DefaultMaxStale.
	MaxStale time.Duration
	// WhenStale applies after MaxStale: servfail (default), nodata, last-good, fixed.
	WhenStale Policy
}

// Source is where the server gets its views.
type Source interface {
	// View returns the newest view, or nil while none is known; the server then
	// answers SERVFAIL. It never blocks.
	View() *View
	// Changed returns a channel that is closed when a view newer than the newest
	// one at the time of the call exists.
	Changed() <-chan struct{}
	// Contact returns how long ago this node last had confirmed contact with a
	// quorum; a very large value if it never had. It is called for each query.
	Contact() (age time.Duration)
}

// StaticSource is a Source whose view and contact age are set by hand: for
// tests, demonstrations and zones without a cluster. The zero value has no view.
type StaticSource struct {
	mu      sync.Mutex
	view    *View
	changed chan struct{}
	age     time.Duration
}

var _ Source = (*StaticSource)(nil)

// Set publishes v.
func (s *StaticSource) Set(v *View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = v
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// SetContact sets the age that Contact returns.
func (s *StaticSource) SetContact(age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age = age
}

// View implements Source.
func (s *StaticSource) View() *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

// Changed implements Source.
func (s *StaticSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Contact implements Source.
func (s *StaticSource) Contact() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.age
}
