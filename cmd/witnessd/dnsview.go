package main

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"quorate/dnsfailover"
	"quorate/witness"
)

// dnsSource shows the DNS server the answers that follow from the state.
type dnsSource struct {
	node interface {
		State() *witness.State
		Changed() <-chan struct{}
		Contact() time.Duration
	}
	log    *slog.Logger
	keys   map[string][]dnsfailover.SigningKey // by zone; the same on all witnesses
	latest atomic.Pointer[dnsfailover.View]
}

var _ dnsfailover.Source = (*dnsSource)(nil)

// View returns the picture for the present state. It is built once for each
// entry that changes an answer.
func (d *dnsSource) View() *dnsfailover.View {
	s := d.node.State()
	if v := d.latest.Load(); v != nil && v.Index == s.DNSIndex {
		return v
	}
	v, err := buildView(s, d.keys)
	if err != nil {
		d.log.Warn("some names are not served", "index", s.DNSIndex, "err", err)
	}
	d.latest.Store(v)
	return v
}

func (d *dnsSource) Changed() <-chan struct{} { return d.node.Changed() }
func (d *dnsSource) Contact() time.Duration   { return d.node.Contact() }

// buildView translates a state into what is answered for it.
func buildView(s *witness.State, keys map[string][]dnsfailover.SigningKey) (*dnsfailover.View, error) {
	var zones []dnsfailover.ZoneSpec
	for _, z := range s.Config.Zones {
		spec := dnsfailover.ZoneSpec{
			Name: z.Name, Serial: uint32(s.DNSIndex), Admin: z.Admin, TTL: z.TTL, NegativeTTL: z.NegativeTTL,
			Keys: keys[strings.ToLower(strings.TrimSuffix(z.Name, "."))+"."], SignedAt: time.UnixMilli(s.DNSWall),
		}
		for _, ns := range z.NS {
			if addr, err := netip.ParseAddr(ns.Address); err == nil {
				spec.NS = append(spec.NS, dnsfailover.NameServer{Name: ns.Name, Addrs: []netip.Addr{addr}})
			}
		}
		zones = append(zones, spec)
	}
	var clusters []dnsfailover.ClusterView
	for _, c := range s.Clusters() {
		if c.Spec.Zone != "" {
			clusters = append(clusters, clusterView(s, c))
		}
	}
	return dnsfailover.Build(s.DNSIndex, zones, clusters)
}

func clusterView(s *witness.State, c *witness.Cluster) dnsfailover.ClusterView {
	empty := dnsfailover.Policy(c.Spec.NoHolder)
	view := dnsfailover.ClusterView{
		Name: c.Name, Zone: c.Spec.Zone, Epoch: c.Epoch, NoService: c.Quorum != nil,
		PrimaryPolicy: dnsfailover.RolePolicy{WhenEmpty: empty, MaxStale: time.Duration(c.Spec.MaxStale)},
		ReplicaPolicy: dnsfailover.RolePolicy{MaxStale: time.Duration(c.Spec.MaxStale)},
	}
	for _, m := range c.Spec.Members {
		t := target(s, c, m)
		view.Members = append(view.Members, t)
		if q := c.Quorum; q != nil { // the nodes of the partition that has the vote
			if slices.Contains(q.Partition, m.Node) && !c.Moving() {
				view.Primaries = append(view.Primaries, t)
			}
			continue
		}
		reported := c.MemberNamed(m.Name)
		switch {
		case m.Name == c.Holder && c.Guard == nil:
			view.Primary = &t
		case m.Name == c.Holder || m.Name == c.Last && c.Holder == "":
			view.LastPrimary = &t
		case reported != nil && reported.Role == "replica" && reported.Healthy():
			view.Replicas = append(view.Replicas, t)
		}
	}
	return view
}

// target gives a member its addresses: those declared for its host, or what
// the member itself reports.
func target(s *witness.State, c *witness.Cluster, m witness.MemberSpec) dnsfailover.Target {
	t := dnsfailover.Target{Name: m.Name, Port: m.Port, Fenced: s.Host(m.Host).Fenced}
	if h := s.Config.Host(m.Host); h != nil {
		for _, a := range h.Addresses {
			if addr, err := netip.ParseAddr(a); err == nil {
				t.Addrs = append(t.Addrs, addr)
			}
		}
	}
	if reported := c.MemberNamed(m.Name); reported != nil && t.Port == 0 {
		if u, err := url.Parse(reported.ConnURL); err == nil {
			t.Port = portOf(u)
		}
	}
	return t
}

func portOf(u *url.URL) uint16 {
	var port uint16
	for _, r := range u.Port() {
		port = port*10 + uint16(r-'0')
	}
	return port
}

// zoneText returns a zone as RFC 1035 text, as this witness serves it.
func (d *dnsSource) zoneText(zone string) (string, error) {
	var b strings.Builder
	if err := d.View().WriteZone(&b, zone); err != nil {
		return "", err
	}
	return b.String(), nil
}
