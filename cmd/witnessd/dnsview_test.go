package main

import (
	"strings"
	"testing"

	"quorate/witness"
	"quorate/witness/kv"
)

// story applies commands to a state, one entry each.
type story struct {
	t *testing.T
	s *witness.State
}

func (st *story) apply(cmds ...witness.Command) witness.Result {
	st.t.Helper()
	var res witness.Result
	for _, c := range cmds {
		st.s, res, _ = st.s.Apply(witness.Entry{Index: st.s.Index + 1, Term: 1, Cmd: c})
		if res.Err != nil {
			st.t.Fatalf("%s: %v", witness.Kind(c), res.Err)
		}
	}
	return res
}

func put(key, value string, lease int64) witness.Command {
	return witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte("/service/demo/" + key), Value: []byte(value), Lease: lease})}
}

func testConfig() witness.Config {
	cfg := witness.Config{
		Devices: []witness.Device{{Name: "bmc", Driver: "redfish"}},
		Zones:   []witness.ZoneSpec{{Name: "db.test", NS: []witness.NameServer{{Name: "ns1.db.test", Address: "10.0.0.1"}}}},
	}
	c := witness.ClusterSpec{Name: "demo", Kind: witness.KindPatroni, Zone: "db.test."}
	for _, n := range []string{"1", "2"} {
		cfg.Hosts = append(cfg.Hosts, witness.Host{Name: "db" + n, Addresses: []string{"10.0.1." + n}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc"}}})
		c.Members = append(c.Members, witness.MemberSpec{Name: "pg" + n, Host: "db" + n})
	}
	cfg.Clusters = []witness.ClusterSpec{c}
	return cfg
}

func zoneOf(t *testing.T, s *witness.State) string {
	t.Helper()
	v, err := buildView(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := v.WriteZone(&b, "db.test."); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestNamesFollowTheState goes through a failover and looks at the names at
// each step: the holder is named, a guarded or fenced one never is.
func TestNamesFollowTheState(t *testing.T) {
	st := &story{t: t, s: witness.New()}
	replica := `{"role":"replica","state":"running","conn_url":"postgres://10.0.1.2:5433/postgres"}`
	st.apply(witness.Configure{Config: testConfig()},
		witness.LeaseGrant{ID: 1, TTL: 30}, witness.LeaseGrant{ID: 2, TTL: 30},
		put("members/pg1", `{"role":"master","state":"running"}`, 1), put("members/pg2", replica, 2), put("leader", "pg1", 1))
	has := func(when string, wants ...string) {
		t.Helper()
		zone := zoneOf(t, st.s)
		for _, want := range wants {
			line, absent := strings.CutPrefix(want, "no ")
			if strings.Contains(zone, line) == absent {
				t.Errorf("%s: want %q in\n%s", when, want, zone)
			}
		}
	}
	primary := func(ip string) string { return "\nprimary.demo.db.test.\t5\tIN\tA\t" + ip }
	has("granted", primary("10.0.1.1"), "\nreplica.demo.db.test.\t5\tIN\tA\t10.0.1.2", "epoch=1 holder=pg1", "0 0 5433 pg2.demo.db.test.")

	st.apply(witness.LeaseExpire{IDs: []int64{1}, Term: 1})
	has("guarded", "no "+primary("10.0.1.1"), "no "+primary("10.0.1.2"))

	view := witness.View{State: st.s, Voters: []string{"w1", "w2", "w3"}, Alive: []string{"w1"}}
	plan := witness.Decide(view)
	if plan == nil || len(plan.Actions) != 1 {
		t.Fatalf("no power-off is decided: %+v", witness.Judge(view, "demo"))
	}
	st.apply(witness.PlanCmd{Plan: *plan})
	action := st.s.PendingActions()[0].ID
	st.apply(witness.Finished{Action: action, Executor: "w1", Outcome: witness.Confirmed, Grade: witness.GradeObserved})
	has("fenced", "no \t10.0.1.1\n", "no "+primary("10.0.1.2"))

	st.apply(put("leader", "pg2", 2))
	has("next", primary("10.0.1.2"), "epoch=2 holder=pg2", "no \t10.0.1.1\n")
}
