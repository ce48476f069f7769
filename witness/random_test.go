package witness_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

var seedFlag = flag.Uint64("seed", 0, "run TestRandomEntries with this seed only")

// TestRandomEntries applies entries that are well formed and make no sense:
// anybody who may write to the log can produce them. None may panic or break
// an invariant, and a witness that was restored on the way must end alike.
func TestRandomEntries(t *testing.T) {
	first, last := uint64(1), uint64(400)
	if testing.Short() {
		last = 50
	}
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { randomLog(t, seed, 150) })
	}
}

func randomLog(t *testing.T, seed uint64, entries int) {
	g := &nonsense{rng: rand.New(rand.NewPCG(seed, 1)), s: witness.New()}
	other := witness.New()
	cut := g.rng.IntN(entries)
	for i := range entries {
		e := witness.Entry{Index: uint64(i + 1), Term: 1 + uint64(i)/50, Stamp: g.stamp(), Cmd: g.command()}
		raw, err := witness.EncodeCommand(e.Cmd, e.Stamp)
		if err != nil {
			t.Fatal(err)
		}
		if e.Cmd, e.Stamp, err = witness.DecodeCommand(raw); err != nil {
			t.Fatal(err)
		}
		before := g.s
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("entry %d panics: %v\n%s\nreplay: go test ./witness -run TestRandomEntries -args -seed %d", i+1, p, raw, seed)
				}
			}()
			g.s, _, _ = g.s.Apply(e)
		}()
		for _, v := range witness.Violations(before, g.s) {
			t.Fatalf("entry %d: %s\n%s\nreplay: go test ./witness -run TestRandomEntries -args -seed %d", i+1, v, raw, seed)
		}
		if i == cut {
			other = restored(t, other)
		}
		other, _, _ = other.Apply(e)
		if other.Digest() != g.s.Digest() {
			t.Fatalf("entry %d: the witness that was restored before entry %d has another digest\n%s\nseed %d", i+1, cut+1, raw, seed)
		}
		judgeAll(g.s)
	}
	if other.Hash() != g.s.Hash() {
		t.Fatalf("the witness that was restored before entry %d ends in another state; seed %d", cut+1, seed)
	}
}

// nonsense makes random commands from a small vocabulary.
type nonsense struct {
	rng *rand.Rand
	s   *witness.State
	now time.Duration
}

func pick[T any](g *nonsense, of ...T) T { return of[g.rng.IntN(len(of))] }

func (g *nonsense) stamp() witness.Stamp {
	g.now += time.Duration(g.rng.IntN(8000)) * time.Millisecond
	return witness.Stamp{Time: g.now, Wall: g.now.Milliseconds()}
}

func (g *nonsense) lease() int64    { return int64(g.rng.IntN(7)) }
func (g *nonsense) member() string  { return pick(g, "pg1", "pg2", "pg3", "z1", "z2", "", "\xff") }
func (g *nonsense) host() string    { return pick(g, "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h9") }
func (g *nonsense) cluster() string { return pick(g, "pg", "pg", "zz", "gone", "") }

func (g *nonsense) command() witness.Command {
	switch g.rng.IntN(28) {
	case 20, 21, 22, 23, 24, 25, 26:
		return g.qnetd()
	case 27:
		return g.qnetdExpire()
	case 0:
		return witness.Configure{Config: g.config()}
	case 1, 2, 3:
		return witness.LeaseGrant{ID: g.lease(), TTL: int64(g.rng.IntN(60))}
	case 4:
		return witness.LeaseRevoke{ID: g.lease()}
	case 5, 6:
		return witness.LeaseExpire{IDs: []int64{g.lease(), g.lease()}, Term: 1 + uint64(g.rng.IntN(4))}
	case 15, 16:
		id := g.lease()
		lease, _ := g.s.KV.Lease(id)
		rest := witness.LeaseRest{ID: id, Epoch: uint64(g.rng.IntN(9)), Rest: int64(g.rng.IntN(70000)) - 9000}
		if lease != nil && g.rng.IntN(4) > 0 {
			rest.Epoch = lease.Epoch
		}
		return witness.LeaseCheckpoint{Rests: []witness.LeaseRest{rest, {ID: g.lease(), Epoch: 1}}, Term: 1 + uint64(g.rng.IntN(4))}
	case 7:
		return witness.Observe{Witness: pick(g, "w1", "w2", "w3"), Items: []witness.Observation{{
			Host: g.host(), Cluster: g.cluster(), Kind: pick(g, "reach", "session", "renewal", "fence"), Down: g.rng.IntN(3) > 0,
			Device: pick(g, "dh1", "dh2", "dh4", "no"),
		}}}
	case 18:
		return pick[witness.Command](g,
			witness.NodeKey{Node: pick(g, "w1", "w2", ""), Public: pick(g, "p1", "p2")},
			witness.DataKey{Version: uint64(g.rng.IntN(4)), Boxes: []witness.SealedBox{{Node: pick(g, "w1", "w2"), Box: "b"}}},
			witness.SealKey{Version: uint64(g.rng.IntN(4)), Node: pick(g, "w1", "w2"), Public: pick(g, "p1", "p2"), Box: "b"},
			witness.Reseal{Base: g.s.ConfigVersion, Settings: []witness.ResealedItem{{Device: "dh1", Setting: "password", Value: fmt.Sprintf("sealed:v%d:x", g.rng.IntN(4))}}})
	case 17:
		return witness.Approve{Request: g.request(), By: pick(g, "x", "z", ""), Reason: "w", Deny: g.rng.IntN(4) == 0}
	case 8, 9:
		return witness.RequestCmd{Request: witness.Request{
			Kind: pick(g, "fence-off", "fence-on", "confirm-off", "switchover", "reboot"), Requester: pick(g, "", "", "", g.host(), "pg1"),
			Timeout: time.Duration(g.rng.IntN(3)) * 20 * time.Second, Host: g.host(), Cluster: g.cluster(), To: g.member(),
			By: "x", Reason: "y", Key: pick(g, "", "", "k1", "k2"), Override: pick(g, nil, []string{"fence.holder", "fence.blast-radius", "fence.rate"}),
		}}
	case 10, 11:
		if p := witness.Decide(witness.View{State: g.s, Now: g.now, Voters: []string{"w1", "w2", "w3"}, Alive: []string{"w1"}}); p != nil {
			return witness.PlanCmd{Plan: *p}
		}
		return witness.PlanCmd{Plan: g.plan()}
	case 12:
		return witness.PlanCmd{Plan: g.plan()}
	case 13, 14:
		return g.finished()
	}
	return witness.Txn{Req: g.txn()}
}

func (g *nonsense) config() witness.Config {
	var cfg witness.Config
	for i := 1; i <= 7; i++ {
		h := fmt.Sprintf("h%d", i)
		cfg.Devices = append(cfg.Devices, witness.Device{Name: "d" + h, Driver: "x", Settings: map[string]string{"password": pick(g, "clear", "sealed:v1:y")}})
		cfg.Hosts = append(cfg.Hosts, witness.Host{Name: h, Addresses: []string{"10.0.0." + h[1:]}, Fence: []witness.FenceStep{{Level: 1, Device: "d" + h}}})
	}
	spec := witness.ClusterSpec{
		Name: "pg", Kind: witness.KindPatroni, Fencing: pick(g, "", "", "none"),
		OnUnproven: pick(g, "hold", "release-after"), Approval: pick(g, "", "", "overrides", "two-person"), FenceLimit: g.rng.IntN(4), ReleaseAfter: witness.Duration(20 * time.Second),
		Members: []witness.MemberSpec{{Name: "pg1", Host: "h1"}, {Name: "pg2", Host: pick(g, "h2", "h3")}},
	}
	if spec.Guarded() {
		spec.Fast = pick(g, "on", "observe", "off")
	}
	cfg.Clusters = append(cfg.Clusters, spec)
	if g.rng.IntN(4) > 0 {
		cfg.Clusters = append(cfg.Clusters, g.corosync())
	}
	if g.rng.IntN(3) > 0 {
		cfg.Clusters = append(cfg.Clusters, witness.ClusterSpec{
			Name: "zz", Kind: witness.KindPatroni, Fencing: pick(g, "", "none"),
			Members: []witness.MemberSpec{{Name: "z1", Host: "h4"}, {Name: "z2", Host: "h5"}},
		})
	}
	return cfg
}

func (g *nonsense) plan() witness.Plan {
	p := witness.Plan{Cluster: g.cluster(), Rule: "x", Why: "y", Refuse: g.rng.IntN(9) == 0, Await: g.rng.IntN(9) == 0, Format: g.rng.IntN(2)}
	if c := g.s.Cluster(p.Cluster); c != nil {
		p.Parent, p.Epoch = c.Version, c.Epoch
	}
	for id, r := range g.s.Requests() {
		if r.Status == witness.StatusPending && g.rng.IntN(2) == 0 {
			p.Request = id
		}
	}
	pending := g.s.PendingActions()
	for range g.rng.IntN(3) {
		item := witness.PlanItem{
			Kind: pick(g, "fence-off", "fence-on", "release", "switchover", "fence-off"), Host: g.host(), Member: g.member(), To: g.member(),
			Condemn: g.rng.IntN(3) == 0,
		}
		if len(pending) > 0 && g.rng.IntN(2) == 0 {
			item.Replaces, item.Host = pending[0].ID, pending[0].Host
		}
		p.Actions = append(p.Actions, item)
	}
	if len(pending) > 0 && g.rng.IntN(8) == 0 {
		p.Join = pending[0].ID
	}
	return p
}

func (g *nonsense) finished() witness.Finished {
	f := witness.Finished{
		Action: "nosuch", Executor: "w1", Outcome: pick(g, witness.Confirmed, witness.Confirmed, witness.Refused, witness.Unknown),
		Grade: pick(g, witness.GradeObserved, witness.GradeObserved, witness.GradeUnknown, witness.GradeFeeds, witness.GradeSelf, witness.GradePerson), Evidence: json.RawMessage(`{"power": "Off"}`),
	}
	if pending := g.s.PendingActions(); len(pending) > 0 {
		f.Action = pick(g, pending...).ID
	}
	return f
}

// request returns the number of a request that waits for approval, if any does.
func (g *nonsense) request() uint64 {
	for id, r := range g.s.Requests() {
		if r.Status == witness.StatusApproval {
			return id
		}
	}
	return uint64(g.rng.IntN(20))
}

func (g *nonsense) key() []byte {
	return []byte("/service/" + pick(g, "pg", "pg", "zz") + "/" + pick(g, "leader", "leader", "leader", "members/"+g.member(), "failover", "config", "status", "optime/leader"))
}

func (g *nonsense) txn() kv.TxnRequest {
	key := g.key()
	value := pick(g, g.member(), g.member(), `{"state":"running","role":"replica"}`, `{"pause":true}`, `{"optime":7}`, "7")
	put := kv.Op{Put: &kv.PutRequest{Key: key, Value: []byte(value), Lease: g.lease(), IgnoreLease: g.rng.IntN(12) == 0}}
	if put.Put.IgnoreLease {
		put.Put.Lease = 0
	}
	del := kv.Op{Delete: &kv.DeleteRequest{Key: key}}
	if g.rng.IntN(10) == 0 {
		del.Delete.RangeEnd = []byte(kv.PrefixEnd("/service/"))
	}
	req := kv.TxnRequest{Success: []kv.Op{pick(g, put, put, del)}}
	if g.rng.IntN(2) == 0 {
		req.Compare = []kv.Compare{{Key: key, Target: kv.CompareTarget(g.rng.IntN(5)), Result: kv.CompareResult(g.rng.IntN(4)), Value: []byte(g.member()), Number: int64(g.rng.IntN(4))}}
		req.Failure = []kv.Op{pick(g, put, del)}
	}
	return req
}
