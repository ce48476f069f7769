package dnsfailover

import (
	"net/netip"

	"github.com/miekg/dns"
)

// fencedAddrs returns every address of every target that any cluster calls fenced.
func fencedAddrs(clusters []ClusterView) map[netip.Addr]bool {
	fenced := make(map[netip.Addr]bool)
	for i := range clusters {
		for t := range clusters[i].targets() {
			if !t.Fenced {
				continue
			}
			for _, addr := range t.Addrs {
				fenced[plain(addr)] = true
			}
		}
	}
	return fenced
}

// withhold removes fenced addresses from all of the view, whatever put them
// there: a fallback, a static record, a name server, a host under a second name.
func withhold(view *View, fenced map[netip.Addr]bool) {
	if len(fenced) == 0 {
		return
	}
	for z := range view.Zones {
		zone := &view.Zones[z]
		for i := range zone.NS {
			var kept []netip.Addr
			for _, addr := range zone.NS[i].Addrs {
				if !fenced[plain(addr)] {
					kept = append(kept, addr)
				}
			}
			zone.NS[i].Addrs = kept
		}
		for i := range zone.Records {
			rs := &zone.Records[i]
			rs.Values = withoutAddrs(zone.Name, rs, rs.Values, fenced)
			rs.Fallback = withoutAddrs(zone.Name, rs, rs.Fallback, fenced)
		}
	}
}

func withoutAddrs(zone string, rs *RRset, values []string, fenced map[netip.Addr]bool) []string {
	switch rs.Type {
	case dns.TypeA, dns.TypeAAAA, dns.TypeSVCB, dns.TypeHTTPS:
	default:
		return values
	}
	var kept []string
	for _, v := range values {
		if !namesAny(zone, rs, v, fenced) {
			kept = append(kept, v)
		}
	}
	return kept
}

// namesAny reports whether one value holds a fenced address.
func namesAny(zone string, rs *RRset, value string, fenced map[netip.Addr]bool) bool {
	if addr, err := netip.ParseAddr(value); err == nil {
		return fenced[plain(addr)]
	}
	rr, err := parseValue(zone, rs.Name, rs.Type, 0, value)
	if err != nil {
		return true // cannot be read, so cannot be cleared
	}
	var params []dns.SVCBKeyValue
	switch rr := rr.(type) {
	case *dns.SVCB:
		params = rr.Value
	case *dns.HTTPS:
		params = rr.Value
	}
	for _, p := range params {
		switch p := p.(type) {
		case *dns.SVCBIPv4Hint:
			for _, ip := range p.Hint {
				if addr, ok := netip.AddrFromSlice(ip); ok && fenced[plain(addr)] {
					return true
				}
			}
		case *dns.SVCBIPv6Hint:
			for _, ip := range p.Hint {
				if addr, ok := netip.AddrFromSlice(ip); ok && fenced[plain(addr)] {
					return true
				}
			}
		}
	}
	return false
}

// plain strips what makes two spellings of one address differ.
func plain(addr netip.Addr) netip.Addr {
	return addr.Unmap().WithZone("")
}
