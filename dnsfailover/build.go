package dnsfailover

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ZoneSpec is the configuration of a zone. Zero TTLs mean the defaults.
type ZoneSpec struct {
	Name   string
	Serial uint32 // 0 means the low 32 bits of the index given to Build
	NS     []NameServer
	Admin  string // mailbox as a domain name or as user@domain; default hostmaster.<zone>
	TTL    uint32 // seconds; default DefaultTTL
	// NegativeTTL is how long resolvers keep a negative answer, in seconds.
	NegativeTTL uint32
	NSTTL       uint32  // seconds; default DefaultNSTTL
	Records     []RRset // static records; a TTL of 0 means that of the zone
	// Keys sign the zone (DNSSEC), from about SignedAt on for SignatureLife.
	Keys     []SigningKey
	SignedAt time.Time
}

// Target is one host of a cluster.
type Target struct {
	Name  string // one label; a name that is none gets no name of its own
	Addrs []netip.Addr
	Port  uint16 // default ClusterView.Port
	// Fenced means powered off, or about to be, by the state that the view shows.
	// No answer names a fenced target or one of its addresses.
	Fenced bool
}

// RolePolicy says what the names of one role answer when there is nothing good to
// answer.
type RolePolicy struct {
	WhenEmpty Policy        // no target: default nodata
	WhenStale Policy        // no quorum contact for MaxStale: default servfail
	MaxStale  time.Duration // default DefaultMaxStale
	Fallback  []netip.Addr  // for PolicyFixed
}

// ClusterView is what the state says of one cluster.
type ClusterView struct {
	Name  string // one label
	Zone  string
	Epoch uint64
	// Primary is the holder; nil while there is none.
	Primary     *Target
	LastPrimary *Target // for PolicyLastGood
	// Primaries are further holders, where several share the role.
	Primaries []Target
	Replicas  []Target // all that are healthy
	// LastReplicas is for PolicyLastGood.
	LastReplicas []Target
	// Members are all configured members: one that is left out gets NXDOMAIN.
	Members       []Target
	Service       string // of the SRV names; default _postgresql._tcp
	NoService     bool   // no SRV names: nobody says what runs there
	Port          uint16 // default 5432
	TTL           uint32 // seconds; default that of the zone
	PrimaryPolicy RolePolicy
	ReplicaPolicy RolePolicy
}

// Build makes the view of the state at one log index. It is a pure function: all
// nodes get the same view. It publishes, below each zone,
//
//	primary.<cluster>                 A, AAAA, TXT "epoch=N holder=<member>"
//	replica.<cluster>                 A, AAAA of all healthy replicas
//	<member>.<cluster>                A, AAAA
//	<service>.primary.<cluster>       SRV, and the same for replica
//
// No host that is fenced in that state is named anywhere in the view, its
// addresses are withheld from static records too, and a managed name never
// disappears: without a target it follows its policy.
//
// The view is never nil. The error joins the faults that Build found; each names
// what it left out of the view.
func Build(index uint64, zones []ZoneSpec, clusters []ClusterView) (*View, error) {
	view := &View{Index: index}
	var faults []error
	at := make(map[string]int, len(zones))
	for i := range zones {
		zone, errs := buildZone(index, &zones[i])
		faults = append(faults, errs...)
		if zone == nil {
			continue
		}
		if _, ok := at[zone.Name]; ok {
			faults = append(faults, fmt.Errorf("zone %s is configured twice; the first one is served", zone.Name))
			continue
		}
		at[zone.Name] = len(view.Zones)
		view.Zones = append(view.Zones, *zone)
	}
	managed := make([][]RRset, len(view.Zones))
	owners := make(map[string]bool)
	banned := fencedAddrs(clusters)
	for i := range clusters {
		c := &clusters[i]
		pos, ok := at[fqdn(c.Zone)]
		if !ok {
			faults = append(faults, fmt.Errorf("cluster %q is not published: there is no zone %q", c.Name, c.Zone))
			continue
		}
		zone := &view.Zones[pos]
		b := clusterBuild{c: c, zone: zone, banned: banned, origin: fqdn(c.Name + "." + zone.Name)}
		if err := checkClusterName(c.Name, b.origin); err != nil {
			faults = append(faults, fmt.Errorf("cluster %q is not published: %w", c.Name, err))
			continue
		}
		if owners[b.origin] {
			faults = append(faults, fmt.Errorf("cluster %q of zone %s appears twice; the first one is published", c.Name, zone.Name))
			continue
		}
		owners[b.origin] = true
		sets := b.build()
		b.clear()
		managed[pos] = append(managed[pos], sets...)
		faults = append(faults, b.faults...)
	}
	for i := range view.Zones {
		view.Zones[i].Records = append(view.Zones[i].Records, managed[i]...)
	}
	withhold(view, banned)
	return view, errors.Join(faults...)
}

func checkClusterName(name, origin string) error {
	if err := checkLabel(name); err != nil {
		return err
	}
	return checkName(origin, false)
}

// buildZone normalises a zone and drops its faulty records. The zone is nil if
// nothing of it can be served.
func buildZone(index uint64, spec *ZoneSpec) (*Zone, []error) {
	apex := fqdn(spec.Name)
	if err := checkName(apex, false); err != nil {
		return nil, []error{fmt.Errorf("zone %q is not served: %w", spec.Name, err)}
	}
	zone := &Zone{
		Name: apex, Serial: spec.Serial, Admin: adminName(spec.Admin, apex),
		TTL: spec.TTL, NegativeTTL: spec.NegativeTTL, NSTTL: spec.NSTTL, Keys: spec.Keys, SignedAt: spec.SignedAt,
	}
	zone.Serial = cmp.Or(zone.Serial, uint32(index))
	zone.TTL = cmp.Or(zone.TTL, DefaultTTL)
	zone.NegativeTTL = cmp.Or(zone.NegativeTTL, DefaultNegativeTTL)
	zone.NSTTL = cmp.Or(zone.NSTTL, DefaultNSTTL)
	var faults []error
	if _, ok := dns.IsDomainName(zone.Admin); !ok || strings.ContainsAny(zone.Admin, " \t\r\n;()\"") {
		faults = append(faults, fmt.Errorf("zone %s: admin %q is no mailbox; %s is used", apex, spec.Admin, adminName("", apex)))
		zone.Admin = adminName("", apex)
	}
	for _, ns := range spec.NS {
		name := absolute(ns.Name, apex)
		if err := checkName(name, false); err != nil {
			faults = append(faults, fmt.Errorf("zone %s: name server left out: %w", apex, err))
			continue
		}
		zone.NS = append(zone.NS, NameServer{Name: name, Addrs: ns.Addrs})
	}
	if len(zone.NS) == 0 {
		faults = append(faults, fmt.Errorf("zone %s has no name server: resolvers will not find it", apex))
	}
	records, errs := staticSets(zone, spec.Records)
	zone.Records = records
	return zone, append(faults, errs...)
}
