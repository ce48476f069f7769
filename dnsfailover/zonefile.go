package dnsfailover

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ErrNoZone is returned for a zone that a view does not have.
var ErrNoZone = errors.New("no such zone")

// WriteZone writes one zone of the view as RFC 1035 text: the records as they are
// served by a node in contact with a quorum. What state says beyond that stands in
// comments. It returns ErrNoZone, an error of w, or the faults of the zone.
func (v *View) WriteZone(w io.Writer, zone string) error {
	name := fqdn(zone)
	pos := slices.IndexFunc(v.Zones, func(z Zone) bool { return fqdn(z.Name) == name })
	if pos < 0 {
		return fmt.Errorf("zone %s: %w in the view of log index %d", name, ErrNoZone, v.Index)
	}
	spec := &v.Zones[pos]
	z, fault := compileZone(spec, nil)
	if z == nil {
		return fault
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "; zone %s at log index %d, serial %d\n$ORIGIN %s\n", name, v.Index, spec.Serial, name)
	soa := z.nodes[name].find(dns.TypeSOA)
	fmt.Fprintln(out, soa.rrs[0]) // RFC 1035 section 5.2 puts it first
	managed := make(map[setKey]*RRset)
	for i := range spec.Records {
		if rs := &spec.Records[i]; rs.Managed {
			managed[setKey{fqdn(rs.Name), rs.Type}] = rs
		}
	}
	owners := make([]string, 0, len(z.nodes))
	for owner := range z.nodes {
		owners = append(owners, owner)
	}
	slices.SortFunc(owners, compareNames)
	for _, owner := range owners {
		for _, s := range z.nodes[owner].sets {
			if s == soa {
				continue
			}
			writeSet(out, owner, s, managed[setKey{owner, s.typ}])
		}
	}
	return errors.Join(out.Flush(), fault)
}

type setKey struct {
	name string
	typ  uint16
}

func writeSet(out *bufio.Writer, owner string, s *set, rs *RRset) {
	rrs := s.rrs
	if rs != nil {
		if len(rrs) == 0 && s.whenEmpty == PolicyFixed {
			rrs = s.fallback
		}
		fmt.Fprintf(out, "; managed: cluster=%s role=%s epoch=%d when-empty=%s when-stale=%s max-stale=%s\n", rs.Cluster, rs.Role,
			rs.Epoch, cmp.Or(rs.WhenEmpty, PolicyNoData), cmp.Or(rs.WhenStale, PolicyServFail), s.maxStale)
		if len(rrs) == 0 {
			fmt.Fprintf(out, "; %s %s has no values\n", owner, typeName(s.typ))
		}
	}
	for _, rr := range slices.Concat(rrs, s.sigs) {
		fmt.Fprintln(out, rr)
	}
}

// compareNames orders names as RFC 4034 section 6.1 does: by label, from the right.
func compareNames(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	for len(x) > 0 && len(y) > 0 {
		if c := strings.Compare(x[len(x)-1], y[len(y)-1]); c != 0 {
			return c
		}
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	return len(x) - len(y)
}
