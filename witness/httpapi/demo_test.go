package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/kv"
	"quorate/witness/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files; commit the change only if you can explain it")

// demo is a witness with one Patroni cluster of three members, and its API.
type demo struct {
	t   *testing.T
	mem *httpapi.Memory
	api *httpapi.API
	// executor is what happens after the leader has worked, if anything.
	executor func()
}

func newDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{t: t, mem: httpapi.NewMemory(httpapi.NodeInfo{
		Name: "w1", Site: "north", Version: "0.1.0", Role: "leader", Leader: "w1", Term: 3, Quorum: true,
		Members: []httpapi.NodeMember{
			{Name: "w1", Peer: "10.1.0.1:7001", Alive: true, Voter: true},
			{Name: "w2", Peer: "10.1.0.2:7001", Alive: true, Voter: true},
			{Name: "w3", Peer: "10.1.0.3:7001", Alive: true, Voter: true},
		},
	})}
	d.api = httpapi.New(httpapi.Options{
		Backend: d.mem, Drivers: map[string]bool{"redfish": true},
		CheckDevice: func(dev witness.Device) error {
			var faults []error
			for _, key := range []string{"colour", "weight"} {
				if _, ok := dev.Settings[key]; ok {
					faults = append(faults, fmt.Errorf("%s: no such setting", key))
				}
			}
			return errors.Join(faults...)
		},
		Zone: func(zone string) (string, error) { return "$ORIGIN " + zone + "\n", nil },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "quorate_state_index 1")
		}),
	})
	d.apply(witness.Bootstrap{ClusterID: 0xabcdef})
	d.apply(witness.Configure{Config: d.config(), By: "anna"})
	d.apply(put("/service/demo/config", `{"ttl":20,"loop_wait":5,"maximum_lag_on_failover":1048576}`, 0))
	for i, m := range []string{"pg1", "pg2", "pg3"} {
		lease := int64(i + 1)
		d.apply(witness.LeaseGrant{ID: lease, TTL: 20})
		if i == 0 {
			d.apply(witness.Txn{Req: kv.TxnRequest{
				Compare: []kv.Compare{{Key: []byte("/service/demo/leader"), Target: kv.CompareCreate, Result: kv.Equal}},
				Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("/service/demo/leader"), Value: []byte(m), Lease: lease}}},
			}})
			d.apply(put("/service/demo/status", `{"optime":50000}`, 0))
		}
		d.member(m, lease, 50000-100*int64(i))
	}
	d.mem.Advance(90 * time.Second)
	d.apply(witness.Touch{})
	return d
}

func (d *demo) config() witness.Config {
	d.t.Helper()
	raw, err := os.ReadFile("testdata/demo.yaml")
	if err != nil {
		d.t.Fatal(err)
	}
	cfg, faults := manifest.Load("demo.yaml", raw, nil)
	if cfg == nil {
		d.t.Fatal(faults)
	}
	return *cfg
}

func put(key, value string, lease int64) witness.Txn {
	return witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease})}
}

func deleteKey(key string) witness.Txn {
	return witness.Txn{Req: kv.DeleteTxn(kv.DeleteRequest{Key: []byte(key)})}
}

func (d *demo) member(name string, lease, pos int64) {
	d.t.Helper()
	role, state := "replica", "streaming"
	if name == "pg1" {
		role, state = "master", "running"
	}
	d.apply(put("/service/demo/members/"+name, fmt.Sprintf(
		`{"role":%q,"state":%q,"xlog_location":%d,"timeline":1,"version":"3.0.2","conn_url":"postgres://10.0.0.1:5432/postgres"}`, role, state, pos), lease))
}

func (d *demo) apply(cmd witness.Command) witness.Result {
	d.t.Helper()
	res, err := d.mem.Propose(context.Background(), cmd)
	if err != nil {
		d.t.Fatalf("apply %T: %v", cmd, err)
	}
	return res
}

// settle lets the leader work; every fence ends as told.
func (d *demo) settle(outcome witness.Outcome, grade witness.Grade, reason string) {
	d.t.Helper()
	err := d.mem.Settle(context.Background(), func(act *witness.Action) witness.Finished {
		d.mem.Advance(1500 * time.Millisecond)
		return witness.Finished{Action: act.ID, Executor: "w1", Outcome: outcome, Grade: grade, Reason: reason}
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// loseHolder lets the lease of pg1 expire.
func (d *demo) loseHolder() {
	d.t.Helper()
	d.apply(witness.LeaseExpire{IDs: []int64{1}, Term: 3})
}

// call sends a request and returns the answer with its body.
func (d *demo) call(method, path, body string, header ...string) (*http.Response, string) {
	d.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	d.api.ServeHTTP(rec, req)
	res := rec.Result()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res, string(raw)
}

// want sends a request, checks the status and returns the decoded body.
func want[T any](d *demo, status int, method, path, body string) T {
	d.t.Helper()
	var out T
	res, raw := d.call(method, path, body)
	if res.StatusCode != status {
		d.t.Fatalf("%s %s: status %d, want %d; body %s", method, path, res.StatusCode, status, raw)
	}
	if err := json.Unmarshal([]byte(raw), &out); err != nil {
		d.t.Fatalf("%s %s: %v; body %s", method, path, err, raw)
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(raw) {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", path, got, raw)
	}
}

// digest differs whenever the state machine computes another one, which is
// nothing that a client can see.
var digest = regexp.MustCompile(`"digest":"[0-9a-f]{16}"`)

func indent(t *testing.T, raw string) string {
	t.Helper()
	raw = digest.ReplaceAllString(raw, `"digest":"…"`)
	var v any
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}
