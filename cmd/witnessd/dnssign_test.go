package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"quorate/witness"
)

// signNode is a log of one witness.
type signNode struct {
	state  *witness.State
	leader bool
	now    time.Time
}

func (n *signNode) State() *witness.State { return n.state }
func (n *signNode) IsLeader() bool        { return n.leader }
func (n *signNode) ProposeLocal(_ context.Context, c witness.Command) (witness.Result, error) {
	var res witness.Result
	n.state, res, _ = n.state.Apply(witness.Entry{Index: n.state.Index + 1, Term: 1, Stamp: witness.Stamp{Wall: n.now.UnixMilli()}, Cmd: c})
	return res, nil
}

// A quiet cluster signs anew long before the signatures end, and not more often.
func TestZonesAreSignedAnew(t *testing.T) {
	n := &signNode{state: witness.New(), leader: true, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	zone := witness.ZoneSpec{Name: "db.test.", NS: []witness.NameServer{{Name: "ns1.db.test.", Address: "192.0.2.1"}}}
	if res, _ := n.ProposeLocal(t.Context(), witness.Configure{Config: witness.Config{Zones: []witness.ZoneSpec{zone}}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	r := &resigner{node: n, log: slog.New(slog.DiscardHandler), signs: true}
	serials := map[uint64]bool{}
	for range 60 * 24 { // sixty days, an hour each
		n.now = n.now.Add(time.Hour)
		r.look(t.Context(), n.now)
		serials[n.state.DNSIndex] = true
		if age := n.now.Sub(time.UnixMilli(n.state.DNSWall)); age > resignAfter+time.Hour {
			t.Fatalf("signatures are %s old", age)
		}
	}
	if len(serials) < 16 || len(serials) > 19 {
		t.Errorf("%d serials in sixty days", len(serials))
	}
	n.leader = false
	n.now = n.now.Add(100 * 24 * time.Hour)
	before := n.state.Index
	if r.look(t.Context(), n.now); n.state.Index != before {
		t.Error("a follower proposed")
	}
}

// What the signatures count from survives a snapshot.
func TestSigningTimeSurvivesASnapshot(t *testing.T) {
	n := &signNode{state: witness.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	if _, err := n.ProposeLocal(t.Context(), witness.RefreshDNS{}); err != nil {
		t.Fatal(err)
	}
	if n.state.DNSWall != n.now.UnixMilli() || n.state.DNSIndex != 1 {
		t.Fatalf("wall %d, index %d", n.state.DNSWall, n.state.DNSIndex)
	}
	n.now = n.now.Add(time.Hour)
	if _, err := n.ProposeLocal(t.Context(), witness.Touch{}); err != nil {
		t.Fatal(err)
	}
	if n.state.DNSIndex != 1 || n.state.DNSWall == n.now.UnixMilli() {
		t.Errorf("an entry that changes no answer moved it: wall %d, index %d", n.state.DNSWall, n.state.DNSIndex)
	}
}
