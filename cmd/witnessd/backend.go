package main

import (
	"context"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/node"
)

// backend is the node as the front ends and the loops see it.
type backend struct {
	*node.Node
	name, site   string
	contactLimit time.Duration // a contact with the quorum that is older is none
}

// applied waits until the entry at index is applied here.
func (b *backend) applied(ctx context.Context, index uint64) error {
	for {
		changed := b.Changed()
		if b.State().Index >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newBackend(n *node.Node, cfg Config) *backend {
	return &backend{Node: n, name: cfg.Node, site: cfg.Site, contactLimit: 2 * cfg.Timing.Election}
}

// Name returns the name of this witness.
func (b *backend) Name() string { return b.name }

// aliveWithin is how long a member may be silent before the leader gives its
// work to others.
const aliveWithin = 5 * time.Second

// View is what a decision, or its explanation, is made from here and now.
func (b *backend) View() witness.View {
	v := witness.View{State: b.State(), Now: b.Now(), Alive: []string{b.name}}
	for _, m := range b.Members() {
		if !m.Voter {
			continue
		}
		v.Voters = append(v.Voters, m.Name)
		if m.Name != b.name && time.Since(m.Heard) < aliveWithin {
			v.Alive = append(v.Alive, m.Name)
		}
	}
	return v
}

// SinceRenewal returns how long ago a lease was renewed, on the leader.
func (b *backend) SinceRenewal(lease int64) (time.Duration, bool) {
	_, since, ok := b.LeaseInfo(lease)
	return since, ok
}

// NodeInfo is what the HTTP API tells of this witness.
func (b *backend) nodeInfo() httpapi.NodeInfo {
	s := b.State()
	leader, _ := b.Leader()
	info := httpapi.NodeInfo{
		Name: b.name, Site: b.site, Version: version, Role: "follower", Leader: leader,
		Term: s.Term, Index: s.Index, Contact: b.Contact(),
	}
	switch {
	case b.IsLeader():
		info.Role = "leader"
	case leader == "":
		info.Role = "candidate"
	}
	info.Quorum = leader != "" && info.Contact <= b.contactLimit
	for _, m := range b.Members() {
		info.Members = append(info.Members, httpapi.NodeMember{
			Name: m.Name, Peer: m.PeerAddr, API: m.Meta["http"], Voter: m.Voter,
			Alive: m.Name == b.name || time.Since(m.Heard) < aliveWithin,
		})
	}
	return info
}

// httpBackend is the node as the HTTP API sees it.
type httpBackend struct{ *backend }

var _ httpapi.Backend = httpBackend{}

// Node describes this witness.
func (h httpBackend) Node() httpapi.NodeInfo { return h.nodeInfo() }
