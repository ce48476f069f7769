package witness_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"quorate/witness"
)

// TestReinstatedLeaseEnds: the lease that a holder lost and no longer needs
// must come to an end like any other, with the keys that still hang on it.
func TestReinstatedLeaseEnds(t *testing.T) {
	w := newWorld(t)
	w.run(`config pg=pg1@h1,pg2@h2
lease 1
create /service/pg/leader pg1 lease=1
member pg pg1 lease=1
expire 1
lease 11
put /service/pg/leader pg1 lease=11`)
	lease, ok := w.s.KV.Lease(1)
	if !ok || lease.Dead {
		t.Fatalf("lease 1 = %+v, %v; want it alive, so that its deadline is watched again", lease, ok)
	}
	w.run("expire 1")
	if _, ok := w.s.KV.Lease(1); ok {
		t.Error("lease 1 is still there after its second expiry")
	}
	if keys := w.keys(); slices.Contains(keys, "/service/pg/members/pg1") {
		t.Error("the member key outlives its lease")
	}
	if c := w.s.Cluster("pg"); c.Holder != "pg1" || c.Guard != nil {
		t.Errorf("holder %q, guard %v; the new lease carries the leader key", c.Holder, c.Guard)
	}
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	for _, cmd := range sampleCommands(t) {
		stamp := witness.Stamp{Time: 3 * time.Second, Wall: 1_800_000_000_123}
		raw, err := witness.EncodeCommand(cmd, stamp)
		if err != nil {
			t.Fatalf("%T: %v", cmd, err)
		}
		back, gotStamp, err := witness.DecodeCommand(raw)
		if err != nil {
			t.Fatalf("%T: %v", cmd, err)
		}
		if !reflect.DeepEqual(back, cmd) || gotStamp != stamp {
			t.Errorf("%s: %#v came back as %#v", witness.Kind(cmd), cmd, back)
		}
	}
}

// sampleCommands returns all the commands of all scenarios, and the kinds that
// they do not use.
func sampleCommands(t *testing.T) []witness.Command {
	t.Helper()
	cmds := []witness.Command{witness.Bootstrap{ClusterID: 7}, witness.Touch{}, witness.Compact{Rev: 3}}
	for _, log := range scenarioLogs(t) {
		for _, e := range log {
			cmds = append(cmds, e.Cmd)
		}
	}
	seen := map[string]bool{}
	for _, c := range cmds {
		seen[witness.Kind(c)] = true
	}
	if len(seen) != 20 {
		t.Fatalf("the samples have %d kinds of command, there are 20", len(seen))
	}
	return cmds
}

func TestDecodeCommandErrors(t *testing.T) {
	for _, raw := range []string{"", "{", "null", `{"k":"nosuch","c":{}}`, `{"k":"txn","c":7}`, `{"k":"finished","c":{"action":7}}`} {
		if _, _, err := witness.DecodeCommand([]byte(raw)); err == nil {
			t.Errorf("%q is accepted as a log entry", raw)
		}
	}
}

func TestUnmarshalErrors(t *testing.T) {
	for _, raw := range []string{
		"", "{", "null", `{"format":2}`, `{"format":1}`, `{"format":1,"config":{},"clusters":[null]}`, `{"format":1,"config":{},"clusters":[{"name":"x"}]}`,
		`{"format":1,"config":{},"hosts":[null]}`, `{"format":1,"config":{},"actions":[null]}`, `{"format":1,"config":{},"requests":[null]}`, `{"format":1,"config":{},"events":[null]}`,
	} {
		if _, err := witness.Unmarshal([]byte(raw)); err == nil {
			t.Errorf("%q is accepted as a state", raw)
		}
	}
}
