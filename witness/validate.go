package witness

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"
)

// Fault is one thing that is wrong with a configuration. Path names the place,
// as in "clusters[0].members[1].host"; a front end turns it into file and line.
type Fault struct {
	Path string `json:"path"`
	Msg  string `json:"msg"`
}

func (f Fault) String() string { return f.Path + ": " + f.Msg }

// Limits of a configuration.
const (
	maxClusters = 20000
	maxHosts    = 50000
	maxMembers  = 32
)

// Validate returns every fault of the configuration, in the order of the
// document, or nothing when it can be applied. drivers are the fence drivers
// that this program has; nil accepts any.
func (c *Config) Validate(drivers map[string]bool) []Fault {
	v := &validator{cfg: c, drivers: drivers}
	v.sites()
	v.devices()
	v.hosts()
	v.witnesses()
	v.zones()
	v.clusters()
	return v.faults
}

type validator struct {
	cfg     *Config
	drivers map[string]bool
	faults  []Fault
	site    map[string]bool
	device  map[string]bool
	host    map[string]bool
	zone    map[string]bool
}

func (v *validator) add(path, format string, args ...any) {
	v.faults = append(v.faults, Fault{Path: path, Msg: fmt.Sprintf(format, args...)})
}

// name checks a name and its uniqueness.
func (v *validator) name(seen map[string]bool, path, name, what string) {
	switch {
	case name == "":
		v.add(path, "%s has no name", what)
	case !goodName(name):
		v.add(path, "%s name %q may only have letters, digits, '-', '_' and '.', at most 63", what, name)
	case seen[name]:
		v.add(path, "%s %q is declared twice", what, name)
	}
	seen[name] = true
}

func goodName(s string) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
		if !ok {
			return false
		}
	}
	return true
}

func (v *validator) sites() {
	v.site = map[string]bool{}
	for i, s := range v.cfg.Sites {
		v.name(v.site, fmt.Sprintf("sites[%d].name", i), s.Name, "site")
	}
}

func (v *validator) devices() {
	v.device = map[string]bool{}
	for i, d := range v.cfg.Devices {
		p := fmt.Sprintf("devices[%d]", i)
		v.name(v.device, p+".name", d.Name, "device")
		if d.Site != "" && !v.site[d.Site] {
			v.add(p+".site", "device %q is reached through site %q, which is not declared", d.Name, d.Site)
		}
		if d.Driver == "" {
			v.add(p+".driver", "device %q has no driver", d.Name)
		} else if v.drivers != nil && !v.drivers[d.Driver] {
			v.add(p+".driver", "there is no driver %q; this witness has %s", d.Driver, strings.Join(sortedKeys(v.drivers), ", "))
		}
	}
}

func (v *validator) hosts() {
	v.host = map[string]bool{}
	addr := map[netip.Addr]string{}
	if len(v.cfg.Hosts) > maxHosts {
		v.add("hosts", "%d hosts are more than the limit of %d", len(v.cfg.Hosts), maxHosts)
	}
	for i, h := range v.cfg.Hosts {
		p := fmt.Sprintf("hosts[%d]", i)
		v.name(v.host, p+".name", h.Name, "host")
		if h.Site != "" && !v.site[h.Site] {
			v.add(p+".site", "host %q is at site %q, which is not declared", h.Name, h.Site)
		}
		if len(h.Addresses) == 0 {
			v.add(p, "host %q has no addresses: DNS and probes need at least one", h.Name)
		}
		for j, a := range h.Addresses {
			ip, err := netip.ParseAddr(a)
			if err != nil {
				v.add(fmt.Sprintf("%s.addresses[%d]", p, j), "%q is not an IP address", a)
				continue
			}
			if other, dup := addr[ip]; dup {
				v.add(fmt.Sprintf("%s.addresses[%d]", p, j), "address %s already belongs to host %q", a, other)
			}
			addr[ip] = h.Name
		}
		for j, f := range h.Fence {
			fp := fmt.Sprintf("%s.fence[%d]", p, j)
			if f.Level < 1 || f.Level > 9 {
				v.add(fp+".level", "fence level %d is not in 1..9", f.Level)
			}
			if !v.device[f.Device] {
				v.add(fp+".device", "host %q is fenced by device %q, which is not declared", h.Name, f.Device)
			}
		}
	}
}

func (v *validator) zones() {
	v.zone = map[string]bool{}
	for i, z := range v.cfg.Zones {
		p := fmt.Sprintf("zones[%d]", i)
		name := fqdn(z.Name)
		if z.Name == "" || name == "." {
			v.add(p+".name", "zone has no name")
			continue
		}
		for _, other := range sortedKeys(v.zone) {
			if other == name {
				v.add(p+".name", "zone %s is declared twice", name)
			} else if strings.HasSuffix(name, "."+other) || strings.HasSuffix(other, "."+name) {
				v.add(p+".name", "zone %s overlaps zone %s: names below both would have two owners", name, other)
			}
		}
		v.zone[name] = true
		if len(z.NS) == 0 {
			v.add(p+".ns", "zone %s has no name servers", name)
		}
		for j, ns := range z.NS {
			if ns.Name == "" {
				v.add(fmt.Sprintf("%s.ns[%d].name", p, j), "name server has no name")
			}
			if _, err := netip.ParseAddr(ns.Address); err != nil {
				v.add(fmt.Sprintf("%s.ns[%d].address", p, j), "%q is not an IP address", ns.Address)
			}
		}
	}
}

func (v *validator) clusters() {
	seen, prefix, placed := map[string]bool{}, map[string]string{}, map[string]string{}
	qnetd := map[string]string{}
	if len(v.cfg.Clusters) > maxClusters {
		v.add("clusters", "%d clusters are more than the limit of %d", len(v.cfg.Clusters), maxClusters)
	}
	for i := range v.cfg.Clusters {
		c := &v.cfg.Clusters[i]
		p := fmt.Sprintf("clusters[%d]", i)
		v.name(seen, p+".name", c.Name, "cluster")
		if c.Kind == KindCorosync {
			v.corosync(p, c, qnetd, placed)
			continue
		}
		if c.Kind != KindPatroni {
			v.add(p+".kind", "cluster %q has kind %q; known kinds: %s, %s", c.Name, c.Kind, KindPatroni, KindCorosync)
		}
		v.foreign(p, c, map[string]string{"qnetd": c.Qnetd, "wait_for_all": c.WaitForAll, "strict_lms": c.StrictLMS})
		v.oneOf(p+".fencing", c.Fencing, "", FencingRequired, FencingNone)
		v.oneOf(p+".fast", c.Fast, "", FastOff, FastObserve, FastOn)
		v.oneOf(p+".on_unproven", c.OnUnproven, "", UnprovenHold, UnprovenReleaseAfter)
		v.oneOf(p+".no_holder", c.NoHolder, "", "nodata", "servfail", "last-good")
		if c.OnUnproven == UnprovenReleaseAfter && c.ReleaseAfter <= 0 {
			v.add(p+".release_after", "cluster %q releases without proof, but says not after how long: set release_after to the time within which the hosts' watchdog surely resets them", c.Name)
		}
		if !c.Guarded() && c.Fast == FastOn {
			v.add(p+".fast", "cluster %q wants fast fencing with fencing: none", c.Name)
		}
		v.unlock(p, c)
		v.oneOf(p+".approval", c.Approval, "", ApprovalNone, ApprovalOverrides, ApprovalTwoPerson)
		for name, n := range map[string]int64{"fence_limit": int64(c.FenceLimit), "fence_window": int64(c.FenceWindow), "approval_time": int64(c.ApprovalTime)} {
			if n < 0 {
				v.add(p+"."+name, "%s of cluster %q is negative", name, c.Name)
			}
		}
		v.prefix(p, c, prefix)
		if c.Zone != "" && !v.zone[fqdn(c.Zone)] {
			v.add(p+".zone", "cluster %q is named in zone %s, which is not declared", c.Name, fqdn(c.Zone))
		}
		v.members(p, c, placed)
	}
}

// prefix refuses clusters whose keys cannot be told apart: the same prefix, or
// one below the other, where a leader key would belong to two clusters.
func (v *validator) prefix(p string, c *ClusterSpec, seen map[string]string) {
	own := c.Prefix()
	if strings.Contains(c.Scope, "/") || strings.Contains(own, "//") || strings.HasPrefix(own, "/./") || strings.Contains(own, "/../") {
		v.add(p+".scope", "cluster %q has the keys %s: a scope is one part without slashes, a namespace has no empty part", c.Name, own)
		return
	}
	if other, dup := seen[own]; dup {
		v.add(p+".scope", "cluster %q has the same keys %s as cluster %q", c.Name, own, other)
		return
	}
	// Every proper prefix of the key path that ends in a slash is looked up both
	// ways, so that many clusters cost little.
	for i := 1; i < len(own)-1; i++ {
		if own[i] != '/' {
			continue
		}
		if other, ok := seen[own[:i+1]]; ok {
			v.add(p+".scope", "the keys %s of cluster %q lie within those of cluster %q: give them different scopes", own, c.Name, other)
			return
		}
	}
	if below, ok := seen["<"+own]; ok {
		v.add(p+".scope", "the keys of cluster %q lie within %s of cluster %q: give them different scopes", below, own, c.Name)
		return
	}
	seen[own] = c.Name
	for i := 1; i < len(own)-1; i++ {
		if own[i] == '/' {
			seen["<"+own[:i+1]] = c.Name
		}
	}
}

func (v *validator) members(p string, c *ClusterSpec, placed map[string]string) {
	if len(c.Members) == 0 {
		v.add(p+".members", "cluster %q has no members", c.Name)
	}
	if len(c.Members) > maxMembers {
		v.add(p+".members", "cluster %q has %d members; the limit is %d", c.Name, len(c.Members), maxMembers)
	}
	seen := map[string]bool{}
	for j, m := range c.Members {
		mp := fmt.Sprintf("%s.members[%d]", p, j)
		v.name(seen, mp+".name", m.Name, "member")
		if !v.host[m.Host] {
			v.add(mp+".host", "member %q runs on host %q, which is not declared", m.Name, m.Host)
			continue
		}
		if other, taken := placed[m.Host]; taken {
			v.add(mp+".host", "host %q is already in cluster %q: powering it off for one cluster would hit the other", m.Host, other)
		}
		placed[m.Host] = c.Name
		if h := v.cfg.Host(m.Host); c.Guarded() && len(h.Fence) == 0 {
			v.add(mp+".host", "cluster %q has fencing: required, but host %q has no fence device", c.Name, m.Host)
		}
	}
}

func (v *validator) oneOf(path, got string, allowed ...string) {
	for _, a := range allowed {
		if got == a {
			return
		}
	}
	v.add(path, "%q is not one of %s", got, strings.Join(allowed[1:], ", "))
}

func fqdn(name string) string {
	name = strings.ToLower(name)
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
