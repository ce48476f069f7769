package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/manifest"
)

const orderOff = `{"op":"off","host":%q,"by":"anna@ops","reason":"smoke","key":%q,"wait":%q}`

func TestFenceAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		type answer struct {
			status int
			body   string
		}
		done := make(chan answer)
		go func() {
			res, raw := d.call("POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "k1", "60s"))
			done <- answer{res.StatusCode, raw}
		}()
		synctest.Wait()
		d.settle(witness.Confirmed, witness.GradeObserved, "the BMC says Off, twice")
		got := <-done
		var body httpapi.RequestBody
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if got.status != http.StatusOK || body.Request.Status != witness.StatusDone || body.Action == nil || body.Action.Outcome != witness.Confirmed {
			t.Errorf("%d %s", got.status, got.body)
		}

		// The same key is the same order, and it is over.
		again := want[httpapi.RequestBody](d, http.StatusOK, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "k1", ""))
		if again.Request.ID != body.Request.ID {
			t.Errorf("the same key made request %d after %d", again.Request.ID, body.Request.ID)
		}
		act := want[struct{ Action witness.Action }](d, http.StatusOK, "GET", "/v1/fences/"+body.Action.ID, "")
		if act.Action.Host != "db3" {
			t.Errorf("action %+v", act)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		began := time.Now()
		got := want[httpapi.RequestBody](d, http.StatusAccepted, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "", "20s"))
		if waited := time.Since(began); waited != 20*time.Second || got.Request.Status != witness.StatusPending {
			t.Errorf("after %s: %+v", waited, got.Request)
		}
		path := fmt.Sprintf("/v1/requests/%d", got.Request.ID)
		if r := want[httpapi.RequestBody](d, http.StatusOK, "GET", path, ""); r.Request.Status != witness.StatusPending {
			t.Errorf("%+v", r.Request)
		}
		began = time.Now()
		want[httpapi.RequestBody](d, http.StatusOK, "GET", path+"?wait=30s", "")
		if waited := time.Since(began); waited != 30*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

// Each way to fail has its code, its status, its rule and the command that
// explains it.
func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare      func(d *demo)
		method, path string
		body         string
		status       int
		code         witness.Code
		rule         string
		explain      string
	}{
		"refused": {
			method: "POST", path: "/v1/fences", body: fmt.Sprintf(orderOff, "db1", "", "30s"),
			status: 422, code: witness.CodeRefused, rule: "fence.holder", explain: "witnessctl cluster explain demo",
		},
		"unproven": {
			method: "POST", path: "/v1/fences", body: fmt.Sprintf(orderOff, "db3", "", "30s"),
			status: 502, code: witness.CodeUnproven, explain: "witnessctl fence status db3",
		},
		"confirmed while alive": {
			method: "POST", path: "/v1/hosts/db1/confirm-off", body: `{"by":"anna","reason":"I think so"}`,
			status: 422, code: witness.CodeRefused, rule: "confirm.live-lease", explain: "witnessctl cluster explain demo",
		},
		"switchover to nobody": {
			method: "POST", path: "/v1/clusters/demo/switchover", body: `{"to":"pg9","by":"anna","reason":"x","wait":"30s"}`,
			status: 422, code: witness.CodeRefused, rule: "switchover.target", explain: "witnessctl cluster explain demo",
		},
		"switchover failed": {
			prepare: func(d *demo) {
				d.executor = func() { d.apply(deleteKey("/service/demo/failover")) }
			},
			method: "POST", path: "/v1/clusters/demo/switchover", body: `{"to":"pg2","by":"anna","reason":"x","wait":"30s"}`,
			status: 409, code: witness.CodeConflict, explain: "witnessctl cluster history demo --run last",
		},
		"no reason":     {method: "POST", path: "/v1/fences", body: `{"op":"off","host":"db3","by":"anna","reason":" "}`, status: 400, code: witness.CodeInvalid},
		"missing field": {method: "POST", path: "/v1/fences", body: `{"op":"off"}`, status: 400, code: witness.CodeInvalid},
		"unknown field": {method: "POST", path: "/v1/fences", body: `{"op":"off","host":"db3","by":"a","reason":"b","force":true}`, status: 400, code: witness.CodeInvalid},
		"bad op":        {method: "POST", path: "/v1/fences", body: `{"op":"cycle","host":"db3","by":"a","reason":"b"}`, status: 400, code: witness.CodeInvalid},
		"not JSON":      {method: "POST", path: "/v1/fences", body: `{"op":`, status: 400, code: witness.CodeInvalid},
		"long wait":     {method: "POST", path: "/v1/fences", body: fmt.Sprintf(orderOff, "db3", "", "1h"), status: 400, code: witness.CodeInvalid},
		"large body":    {method: "POST", path: "/v1/fences", body: `{"op":"off","reason":"` + strings.Repeat("x", 70_000) + `"}`, status: 413, code: witness.CodeInvalid},
		"unknown host":  {method: "POST", path: "/v1/fences", body: fmt.Sprintf(orderOff, "db9", "", ""), status: 404, code: witness.CodeNotFound},
		"no cluster":    {method: "GET", path: "/v1/clusters/nope/explain", status: 404, code: witness.CodeNotFound},
		"no request":    {method: "GET", path: "/v1/requests/9999", status: 404, code: witness.CodeNotFound},
		"no action":     {method: "GET", path: "/v1/fences/x", status: 404, code: witness.CodeNotFound},
		"no path":       {method: "GET", path: "/v1/nope", status: 404, code: witness.CodeNotFound},
		"other method":  {method: "DELETE", path: "/v1/config", status: 404, code: witness.CodeNotFound},
		"unknown query": {method: "PUT", path: "/v1/config?dryrun=1", body: "sites: []", status: 400, code: witness.CodeInvalid},
		"stale base":    {method: "PUT", path: "/v1/config?base=1", body: "sites: []", status: 409, code: witness.CodeConflict},
		"taken away": {
			prepare: func(d *demo) { d.loseHolder() },
			method:  "PUT", path: "/v1/config", body: "sites: [{name: x}]", status: 422, code: witness.CodeRefused, rule: "config.guarded",
		},
		"read-only write": {
			prepare: cutOff, method: "POST", path: "/v1/fences", body: fmt.Sprintf(orderOff, "db3", "", ""),
			status: 503, code: witness.CodeNoQuorum, explain: "witnessctl status",
		},
		"read-only config": {prepare: cutOff, method: "PUT", path: "/v1/config", body: "sites: []", status: 503, code: witness.CodeNoQuorum, explain: "witnessctl status"},
		"consistent read":  {prepare: cutOff, method: "GET", path: "/v1/clusters?consistent=1", status: 503, code: witness.CodeNoQuorum, explain: "witnessctl status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDemo(t)
				if tc.prepare != nil {
					tc.prepare(d)
				}
				go func() {
					synctest.Wait() // until the request waits, or is over
					if d.executor != nil {
						d.settle(witness.Confirmed, witness.GradeObserved, "off")
						d.executor()
						return
					}
					if d.mem.Node().Quorum {
						d.settle(witness.Unknown, witness.GradeUnknown, "the BMC does not answer")
					}
				}()
				got := want[httpapi.Error](d, tc.status, tc.method, tc.path, tc.body)
				if got.Code != tc.code || got.Rule != tc.rule || got.Explain != tc.explain || got.Message == "" || got.Node != "w1" {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func cutOff(d *demo) {
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Quorum, n.Contact = false, 42*time.Second })
}

func TestReadOnlyTellsTheAge(t *testing.T) {
	d := newDemo(t)
	cutOff(d)
	before := d.mem.State().Index
	got := want[httpapi.Error](d, 503, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "", ""))
	if !got.ReadOnly || got.Age != 42 || !strings.Contains(got.Message, "42s ago") {
		t.Errorf("got %+v", got)
	}
	if d.mem.State().Index != before {
		t.Error("something was written")
	}
	if ex := call[httpapi.Explanation](d, "/v1/clusters/demo/explain"); !ex.ReadOnly || !strings.Contains(ex.Sentence, "without contact to a quorum for 42s") {
		t.Errorf("explain: %+v", ex)
	}
}

// An error that is none of the domain's is not shown to the client.
func TestInternalErrorsStayInside(t *testing.T) {
	d := newDemo(t)
	api := httpapi.New(httpapi.Options{Backend: d.mem, Zone: func(string) (string, error) { return "", errors.New("secret detail") }})
	d.api = api
	got := want[httpapi.Error](d, 500, "GET", "/v1/dns/db.example.org", "")
	if got.Code != witness.CodeInternal || strings.Contains(got.Message, "secret") {
		t.Errorf("got %+v", got)
	}
}

func TestStatusTableIsComplete(t *testing.T) {
	for _, code := range []witness.Code{
		witness.CodeInvalid, witness.CodeNotFound, witness.CodeConflict, witness.CodeRefused, witness.CodeGuarded,
		witness.CodeNoQuorum, witness.CodeUnproven, witness.CodeKV, witness.CodeExhausted,
	} {
		if httpapi.Status(code) == http.StatusInternalServerError {
			t.Errorf("code %s has no status", code)
		}
	}
}

func TestConfig(t *testing.T) {
	d := newDemo(t)
	type configBody struct {
		Version uint64
		Config  json.RawMessage
	}
	old := call[configBody](d, "/v1/config")
	next := strings.Replace(string(old.Config), `"port":0`, `"port":5433`, 1)
	next = strings.Replace(next, `"kind":"patroni"`, `"kind":"patroni","fast":"observe"`, 1)

	dry := want[httpapi.Applied](d, 200, "PUT", "/v1/config?dry_run=1&by=anna", next)
	if dry.Applied || dry.Version != old.Version || len(dry.Changes) != 1 || dry.Changes[0].String() != "~ cluster demo: fast: (default) → observe" {
		t.Errorf("dry run: %+v", dry)
	}
	if d.mem.State().ConfigVersion != old.Version {
		t.Error("the dry run changed something")
	}
	done := want[httpapi.Applied](d, 200, "PUT", fmt.Sprintf("/v1/config?by=anna&base=%d", old.Version), next)
	if !done.Applied || done.Version <= old.Version || d.mem.State().Config.Cluster("demo").Fast != "observe" {
		t.Errorf("applied: %+v", done)
	}
	if got := d.mem.State().Config.Device("bmc1").Settings["password"]; got != "hunter2" {
		t.Errorf("the masked secret became %q", got)
	}
	// The same again changes nothing and makes no entry.
	before := d.mem.State().Index
	if again := want[httpapi.Applied](d, 200, "PUT", "/v1/config", next); again.Applied || d.mem.State().Index != before {
		t.Errorf("again: %+v", again)
	}
	// A secret does not follow its device to another address.
	moved := strings.Replace(next, "https://10.0.9.2", "https://evil.example", 1)
	if got := want[httpapi.Error](d, 400, "PUT", "/v1/config", moved); len(got.Faults) != 1 || got.Faults[0].Path != "devices[1].settings.password" {
		t.Errorf("got %+v", got)
	}
}

func TestConfigFaults(t *testing.T) {
	d := newDemo(t)
	const bad = "sites: [{nom: a}]\ndevices:\n  - {name: x, driver: telepathy}\n"
	got := want[httpapi.Error](d, 400, "PUT", "/v1/config?file=my.yaml", bad)
	lines := got.Faults.Error()
	for _, part := range []string{`my.yaml:1: unknown key "nom"`, `my.yaml:1: site has no name`, `my.yaml:3: there is no driver "telepathy"; this witness has redfish`} {
		if !strings.Contains(lines, part) || !strings.Contains(got.Message, part) {
			t.Errorf("%q is missing in %s", part, lines)
		}
	}
	checked := want[httpapi.Checked](d, 200, "POST", "/v1/config/validate", bad)
	if checked.Valid || len(checked.Faults) != len(got.Faults) {
		t.Errorf("validate: %+v", checked)
	}
	raw, err := manifest.Render(d.mem.State().Config)
	if err != nil {
		t.Fatal(err)
	}
	good := want[httpapi.Checked](d, 200, "POST", "/v1/config/validate", string(raw))
	if !good.Valid || len(good.Changes) != 0 {
		t.Errorf("validate: %+v", good)
	}
}

func TestForeignPagesCannotWrite(t *testing.T) {
	d := newDemo(t)
	res, _ := d.call("POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "", ""), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", res.StatusCode)
	}
	for range d.mem.State().Requests() {
		t.Error("a request was taken")
	}
}

// A proposal whose fate is unknown says so.
type lostBackend struct{ *httpapi.Memory }

func (lostBackend) Propose(context.Context, witness.Command) (witness.Result, error) {
	return witness.Result{}, context.DeadlineExceeded
}

func TestUnknownFate(t *testing.T) {
	d := newDemo(t)
	d.api = httpapi.New(httpapi.Options{Backend: lostBackend{d.mem}})
	got := want[httpapi.Error](d, 503, "POST", "/v1/fences", fmt.Sprintf(orderOff, "db3", "", ""))
	if got.Code != witness.CodeNoQuorum || !strings.Contains(got.Message, "may or may not be done") {
		t.Errorf("got %+v", got)
	}
}

// TestDeviceSettingsAreChecked: the drivers' faults of all devices come at once, with their lines, and nothing is applied.
func TestDeviceSettingsAreChecked(t *testing.T) {
	d := newDemo(t)
	before := d.mem.State().ConfigVersion
	const bad = `devices:
- {name: x, driver: redfish, settings: {colour: blue, weight: heavy}}
- {name: y, driver: redfish}
- {name: z, driver: redfish, settings: {weight: light}}
`
	got := want[httpapi.Error](d, 400, "PUT", "/v1/config?file=my.yaml", bad)
	lines := got.Faults.Error()
	for _, part := range []string{
		`my.yaml:2: device "x": colour: no such setting`, `my.yaml:2: device "x": weight: no such setting`, `my.yaml:4: device "z": weight: no such setting`,
	} {
		if !strings.Contains(lines, part) {
			t.Errorf("%q is missing in %s", part, lines)
		}
	}
	if len(got.Faults) != 3 || d.mem.State().ConfigVersion != before {
		t.Errorf("%d faults, configuration %d, was %d", len(got.Faults), d.mem.State().ConfigVersion, before)
	}
	if checked := want[httpapi.Checked](d, 200, "POST", "/v1/config/validate", bad); checked.Valid || len(checked.Faults) != 3 {
		t.Errorf("%+v", checked)
	}
}
