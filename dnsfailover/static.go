package dnsfailover

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ValidateZones reports all faults of a configuration at once, nil if there are
// none. Build serves a faulty configuration as far as it can; this is the check
// to make before it is accepted.
func ValidateZones(zones []ZoneSpec) error {
	var faults []error
	names := make([]string, len(zones))
	for i := range zones {
		zone, errs := buildZone(1, &zones[i])
		faults = append(faults, errs...)
		if zone == nil {
			continue
		}
		for j, other := range names[:i] {
			switch {
			case other == "":
			case other == zone.Name:
				faults = append(faults, fmt.Errorf("zone %s is configured twice (zones %d and %d)", zone.Name, j+1, i+1))
			case within(zone.Name, other), within(other, zone.Name):
				faults = append(faults, fmt.Errorf("zones %s and %s overlap: one server cannot be asked for both; use one zone, or separate names", other, zone.Name))
			}
		}
		names[i] = zone.Name
		faults = append(faults, checkZone(zone)...)
	}
	return errors.Join(faults...)
}

// checkZone reports what makes a zone doubtful though it can be served.
func checkZone(zone *Zone) []error {
	var faults []error
	for _, ns := range zone.NS {
		if within(ns.Name, zone.Name) && len(ns.Addrs) == 0 {
			faults = append(faults, fmt.Errorf("zone %s: name server %s lies in the zone and has no address: resolvers cannot reach it", zone.Name, ns.Name))
		}
		for _, addr := range ns.Addrs {
			if !addr.IsValid() || addr.IsUnspecified() {
				faults = append(faults, fmt.Errorf("zone %s: name server %s has the address %s, which no resolver can reach", zone.Name, ns.Name, addr))
			}
		}
	}
	return faults
}

// adminName turns user@domain into the form of an SOA RNAME (RFC 1035 section 8).
func adminName(admin, apex string) string {
	user, domain, ok := strings.Cut(admin, "@")
	switch {
	case admin == "":
		return "hostmaster." + apex
	case ok:
		return fqdn(strings.ReplaceAll(user, ".", "\\.") + "." + domain)
	}
	return absolute(admin, apex)
}

// staticSets normalises the static records of a zone. Those with a fault are left
// out and reported.
func staticSets(zone *Zone, records []RRset) ([]RRset, []error) {
	var kept []RRset
	var faults []error
	for i := range records {
		rs := records[i]
		rs.Name = absolute(rs.Name, zone.Name)
		if rs.TTL == 0 {
			rs.TTL = zone.TTL
		}
		fault := checkStatic(zone, &rs, kept)
		if fault != nil {
			faults = append(faults, fmt.Errorf("zone %s: record %s %s is not served: %w", zone.Name, rs.Name, typeName(rs.Type), fault))
			continue
		}
		kept = append(kept, rs)
	}
	return kept, faults
}

func checkStatic(zone *Zone, rs *RRset, others []RRset) error {
	var faults []error
	if err := checkName(rs.Name, true); err != nil {
		faults = append(faults, err)
	}
	if !within(rs.Name, zone.Name) {
		faults = append(faults, errors.New("its name lies outside the zone"))
	}
	if rs.Managed {
		faults = append(faults, errors.New("a static record cannot be managed"))
	}
	if rs.TTL > 1<<31-1 {
		faults = append(faults, fmt.Errorf("TTL %d is above 2147483647 (RFC 2181 section 8)", rs.TTL))
	}
	if err := checkType(zone, rs); err != nil {
		faults = append(faults, err)
	}
	if len(rs.Values) == 0 {
		faults = append(faults, errors.New("it has no values"))
	}
	rrs, err := parseValues(zone.Name, rs.Name, rs.Type, rs.TTL, rs.Values)
	if err != nil {
		faults = append(faults, err)
	}
	if size := wireSize(rs.Name, rrs); size > dns.MaxMsgSize-1024 {
		faults = append(faults, fmt.Errorf("its values need %d bytes, more than one answer holds", size))
	}
	for i := range others {
		o := &others[i]
		switch {
		case o.Name != rs.Name:
		case o.Type == rs.Type:
			faults = append(faults, errors.New("it appears twice; put all values into one record"))
		case o.Type == dns.TypeCNAME || rs.Type == dns.TypeCNAME:
			faults = append(faults, fmt.Errorf("a CNAME cannot stand beside other records (%s)", typeName(o.Type)))
		}
	}
	return errors.Join(faults...)
}

func checkType(zone *Zone, rs *RRset) error {
	switch rs.Type {
	case dns.TypeSOA, dns.TypeNS:
		if rs.Name == zone.Name {
			return errors.New("the server makes SOA and NS at the apex; set them in the zone")
		}
		return errors.New("delegations are not served; serve the names here or use another zone")
	case dns.TypeDNAME:
		return errors.New("DNAME is not served; write a CNAME for each name")
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeDS:
		return errors.New("DNSSEC records cannot be configured")
	case dns.TypeCNAME:
		if rs.Name == zone.Name {
			return errors.New("a CNAME cannot stand at the apex, beside SOA and NS")
		}
		if len(rs.Values) > 1 {
			return errors.New("a CNAME has exactly one value")
		}
	}
	// RFC 6895 section 3.1: 0 and OPT are not data, 128 to 255 are meta types.
	if rs.Type == 0 || rs.Type == dns.TypeOPT || rs.Type >= 128 && rs.Type <= 255 {
		return errors.New("it is no data type")
	}
	if rs.Type == dns.TypeA || rs.Type == dns.TypeAAAA || rs.Type == dns.TypeCNAME {
		inside := func(ns NameServer) bool { return ns.Name == rs.Name }
		if slices.ContainsFunc(zone.NS, inside) {
			return errors.New("the addresses of a name server are set with the name server")
		}
	}
	return nil
}

// wireSize returns the bytes of rrs on the wire, uncompressed.
func wireSize(name string, rrs []dns.RR) int {
	m := dns.Msg{Question: []dns.Question{{Name: name}}, Answer: rrs}
	return m.Len()
}
