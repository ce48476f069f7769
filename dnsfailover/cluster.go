package dnsfailover

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// The labels below a cluster's name that are roles: no member may use them.
const (
	rolePrimary = "primary"
	roleReplica = "replica"
	roleMember  = "member"
)

const (
	defaultService = "_postgresql._tcp"
	defaultPort    = 5432
)

// targets yields every target that the view of a cluster mentions.
func (c *ClusterView) targets() iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, t := range []*Target{c.Primary, c.LastPrimary} {
			if t != nil && !yield(t) {
				return
			}
		}
		for _, list := range [][]Target{c.Members, c.Replicas, c.LastReplicas, c.Primaries} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// clusterBuild makes the records of one cluster.
type clusterBuild struct {
	c      *ClusterView
	zone   *Zone
	origin string              // <cluster>.<zone>
	banned map[netip.Addr]bool // addresses of fenced targets of all clusters
	fenced map[string]bool     // by target name: one that is fenced anywhere is fenced
	named  map[string]bool     // targets that have a name of their own
	faults []error
}

func (b *clusterBuild) build() []RRset {
	b.fenced = make(map[string]bool)
	for t := range b.c.targets() {
		if t.Fenced {
			b.fenced[fold(t.Name)] = true
		}
	}
	primaryPolicy := b.policy(rolePrimary, b.c.PrimaryPolicy)
	replicaPolicy := b.policy(roleReplica, b.c.ReplicaPolicy)
	sets := b.members(primaryPolicy)

	primary := b.alive(append(listOf(b.c.Primary), b.c.Primaries...))
	txt := fmt.Sprintf("epoch=%d holder=", b.c.Epoch)
	for i, t := range primary {
		if i > 0 {
			txt += ","
		}
		txt += t.Name
	}
	sets = append(sets, b.role(rolePrimary, primary, b.alive(listOf(b.c.LastPrimary)), primaryPolicy)...)
	holder := b.set(rolePrimary+"."+b.origin, dns.TypeTXT, rolePrimary, primaryPolicy)
	holder.Values = []string{quoted(txt)}
	sets = append(sets, holder)

	replicas, last := b.alive(b.c.Replicas), b.alive(b.c.LastReplicas)
	if b.c.Primary != nil { // the holder may still be listed as what it was
		holds := func(t Target) bool { return fold(t.Name) == fold(b.c.Primary.Name) }
		replicas, last = slices.DeleteFunc(replicas, holds), slices.DeleteFunc(last, holds)
	}
	return append(sets, b.role(roleReplica, replicas, last, replicaPolicy)...)
}

// clear removes what the configuration says about names below the cluster's: it
// would hide, or be hidden by, what the state says.
func (b *clusterBuild) clear() {
	below := func(name string) bool { return strings.HasSuffix(name, "."+b.origin) }
	b.zone.Records = slices.DeleteFunc(b.zone.Records, func(rs RRset) bool {
		if !below(rs.Name) {
			return false
		}
		b.faults = append(b.faults, fmt.Errorf("record %s %s is not served: the names below %s belong to a cluster",
			rs.Name, typeName(rs.Type), b.origin))
		return true
	})
	for i := range b.zone.NS {
		if ns := &b.zone.NS[i]; below(ns.Name) {
			ns.Addrs = nil
			b.faults = append(b.faults, fmt.Errorf("name server %s gets no address: the names below %s belong to a cluster", ns.Name, b.origin))
		}
	}
}

// policy returns p without what cannot be followed.
func (b *clusterBuild) policy(role string, p RolePolicy) RolePolicy {
	for i, value := range []*Policy{&p.WhenEmpty, &p.WhenStale} {
		field := [...]string{"when-empty", "when-stale"}[i]
		if !value.known() {
			b.faults = append(b.faults, fmt.Errorf("cluster %q: %s policy %q of %s is unknown; the default applies", b.c.Name, field, *value, role))
			*value = ""
		}
		if *value == PolicyFixed && len(p.Fallback) == 0 {
			b.faults = append(b.faults, fmt.Errorf("cluster %q: %s policy of %s is fixed without a fallback address; the default applies", b.c.Name, field, role))
			*value = ""
		}
	}
	return p
}

// members makes one name for each member, and for a holder or replica that is not
// listed as one. A fenced member keeps its name, without addresses.
func (b *clusterBuild) members(primary RolePolicy) []RRset {
	var sets []RRset
	b.named = make(map[string]bool)
	policy := RolePolicy{WhenStale: primary.WhenStale, MaxStale: primary.MaxStale}
	if policy.WhenStale == PolicyFixed {
		policy.WhenStale = PolicyServFail // a fallback is no address of this member
	}
	for t := range b.c.targets() {
		label := fold(t.Name)
		if b.named[label] {
			continue
		}
		owner := label + "." + b.origin
		err := checkLabel(label)
		if err == nil {
			err = checkName(owner, false)
		}
		if label == rolePrimary || label == roleReplica || strings.HasPrefix(label, "_") {
			err = fmt.Errorf("the name %q is reserved", label)
		}
		if err != nil {
			b.faults = append(b.faults, fmt.Errorf("cluster %q: member %q gets no name of its own: %w", b.c.Name, t.Name, err))
			continue
		}
		b.named[label] = true
		sets = append(sets, b.addresses(owner, roleMember, b.alive([]Target{*t}), policy)...)
	}
	return sets
}

// role makes the address and SRV records of one role.
func (b *clusterBuild) role(role string, now, last []Target, p RolePolicy) []RRset {
	homeless := func(t Target) bool { return len(t.Addrs) == 0 }
	now, last = slices.DeleteFunc(slices.Clone(now), homeless), slices.DeleteFunc(slices.Clone(last), homeless)
	if len(now) == 0 && p.WhenEmpty == PolicyLastGood {
		now = last
	}
	owner := role + "." + b.origin
	if b.c.NoService {
		return b.addresses(owner, role, now, p)
	}
	service := b.c.Service
	if service == "" {
		service = defaultService
	}
	srv := b.set(fqdn(service)+owner, dns.TypeSRV, role, p)
	if err := checkName(srv.Name, false); err != nil {
		b.faults = append(b.faults, fmt.Errorf("cluster %q: no SRV record for %s: %w", b.c.Name, role, err))
		return b.addresses(owner, role, now, p)
	}
	port := b.c.Port
	if port == 0 {
		port = defaultPort
	}
	fixed := fmt.Sprintf("0 0 %d %s", port, owner)
	if p.WhenStale == PolicyFixed {
		srv.Fallback = []string{fixed}
	}
	if len(now) == 0 && p.WhenEmpty == PolicyFixed {
		srv.Values = []string{fixed}
	}
	for _, t := range now {
		host := owner
		if label := fold(t.Name); b.named[label] {
			host = label + "." + b.origin
		}
		if t.Port == 0 {
			t.Port = port
		}
		value := fmt.Sprintf("0 0 %d %s", t.Port, host)
		if !slices.Contains(srv.Values, value) {
			srv.Values = append(srv.Values, value)
		}
	}
	return append(b.addresses(owner, role, now, p), srv)
}

// addresses makes the A and the AAAA set of a managed name. Both always exist, so
// that each carries the policies.
func (b *clusterBuild) addresses(owner, role string, targets []Target, p RolePolicy) []RRset {
	a, aaaa := b.set(owner, dns.TypeA, role, p), b.set(owner, dns.TypeAAAA, role, p)
	for _, addr := range p.Fallback {
		addToFamily(&a.Fallback, &aaaa.Fallback, plain(addr).Is4(), plain(addr).String())
	}
	for _, t := range targets {
		for _, addr := range t.Addrs {
			addToFamily(&a.Values, &aaaa.Values, plain(addr).Is4(), plain(addr).String())
		}
	}
	if len(a.Values)+len(aaaa.Values) > 0 {
		// A target without an address of one family is not a missing target.
		a.WhenEmpty, aaaa.WhenEmpty = PolicyNoData, PolicyNoData
	} else if p.WhenEmpty == PolicyFixed {
		a.Values, aaaa.Values = a.Fallback, aaaa.Fallback
	}
	return []RRset{a, aaaa}
}

func addToFamily(v4, v6 *[]string, is4 bool, value string) {
	list := v6
	if is4 {
		list = v4
	}
	if !slices.Contains(*list, value) {
		*list = append(*list, value)
	}
}

// set returns an empty managed set.
func (b *clusterBuild) set(owner string, typ uint16, role string, p RolePolicy) RRset {
	rs := RRset{
		Name: owner, Type: typ, TTL: b.c.TTL, Managed: true,
		Epoch: b.c.Epoch, Cluster: b.c.Name, Role: role,
		WhenEmpty: p.WhenEmpty, MaxStale: p.MaxStale, WhenStale: p.WhenStale,
	}
	if rs.TTL == 0 {
		rs.TTL = b.zone.TTL
	}
	if rs.WhenEmpty == "" || rs.WhenEmpty == PolicyLastGood {
		rs.WhenEmpty = PolicyNoData // last-good has been looked up by now
	}
	if rs.WhenStale == "" {
		rs.WhenStale = PolicyServFail
	}
	if rs.MaxStale <= 0 {
		rs.MaxStale = DefaultMaxStale
	}
	return rs
}

// alive returns the targets that are not fenced, in the order given. A host that
// another cluster calls fenced is recognised by its addresses.
func (b *clusterBuild) alive(targets []Target) []Target {
	var out []Target
	for _, t := range targets {
		if b.fenced[fold(t.Name)] {
			continue
		}
		addrs := slices.DeleteFunc(slices.Clone(t.Addrs), func(a netip.Addr) bool { return b.banned[plain(a)] })
		if len(addrs) == 0 && len(t.Addrs) > 0 {
			continue
		}
		t.Addrs = addrs
		out = append(out, t)
	}
	return out
}

func listOf(t *Target) []Target {
	if t == nil {
		return nil
	}
	return []Target{*t}
}

// fold makes names that DNS takes for equal equal (RFC 4343).
func fold(name string) string {
	return strings.ToLower(name)
}

// quoted writes text as one character-string of presentation rdata, RFC 1035
// section 5.1.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range min(len(text), 255) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
