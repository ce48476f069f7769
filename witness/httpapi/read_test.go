package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

func TestGolden(t *testing.T) {
	d := newDemo(t)
	get := func(name, path string) {
		t.Helper()
		res, raw := d.call("GET", path, "")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %d %s", path, res.StatusCode, raw)
		}
		golden(t, name+".json", indent(t, raw))
	}
	get("status", "/v1/status")
	get("cluster", "/v1/clusters/demo?consistent=1")
	get("config", "/v1/config")
	get("fences", "/v1/fences")
	get("explain", "/v1/clusters/demo/explain")
	get("role", "/v1/clusters/demo/role/replica")

	d.loseHolder()
	get("explain-guarded", "/v1/clusters/demo/explain")
	d.settle(witness.Confirmed, witness.GradeObserved, "the BMC says Off, twice")
	get("cluster-vacant", "/v1/clusters/demo")
	d.apply(put("/service/demo/leader", "pg2", 2))
	get("history", "/v1/clusters/demo/history")
	get("events", "/v1/events?since=-3")
	get("status-after", "/v1/status")
}

func TestOpenAPI(t *testing.T) {
	d := newDemo(t)
	_, raw := d.call("GET", "/openapi.json", "")
	for _, want := range []string{
		`"/v1/clusters/{cluster}/role/{role}/{member}"`, `"/v1/events/stream"`, `"/v1/config/validate"`, `"put-config"`, `"dry_run"`,
		`"FenceOrder"`, `"no-quorum"`,
	} {
		if !strings.Contains(raw, want) {
			t.Errorf("the OpenAPI document does not mention %s", want)
		}
	}
	for _, foreign := range []string{"ErrorModel", "problem+json", "unpkg", "cdn"} {
		if strings.Contains(raw, foreign) {
			t.Errorf("the OpenAPI document mentions %s", foreign)
		}
	}
}

func TestSecretsStayInside(t *testing.T) {
	d := newDemo(t)
	for _, path := range []string{"/v1/config", "/v1/fences", "/v1/events", "/v1/status", "/v1/clusters"} {
		if _, raw := d.call("GET", path, ""); strings.Contains(raw, "hunter2") {
			t.Errorf("GET %s shows a secret", path)
		}
	}
}

func TestHeadersTellTheAge(t *testing.T) {
	d := newDemo(t)
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Contact = 1500 * time.Millisecond })
	for _, path := range []string{"/v1/status", "/healthz", "/v1/nowhere", "/v1/dns/db.example.org"} {
		res, _ := d.call("GET", path, "")
		if res.Header.Get("Quorate-Node") != "w1" || res.Header.Get("Quorate-Age") != "1.500" || res.Header.Get("Quorate-Index") == "" {
			t.Errorf("GET %s: headers %v", path, res.Header)
		}
	}
}

func TestProtectionLadder(t *testing.T) {
	d := newDemo(t)
	for alive, want := range []string{httpapi.Unprotected, httpapi.Unprotected, httpapi.OneMoreFailure, httpapi.Protected} {
		d.mem.Describe(func(n *httpapi.NodeInfo) {
			for i := range n.Members {
				n.Members[i].Alive = i < alive
			}
		})
		got := call[httpapi.StatusBody](d, "/v1/status")
		if got.Protection != want {
			t.Errorf("%d of 3 alive: %s (%s), want %s", alive, got.Protection, got.Text, want)
		}
	}
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Quorum = false })
	if got := call[httpapi.StatusBody](d, "/v1/status"); got.Protection != httpapi.Unprotected || !got.ReadOnly {
		t.Errorf("without quorum: %+v", got)
	}
}

func call[T any](d *demo, path string) T {
	d.t.Helper()
	return want[T](d, http.StatusOK, "GET", path, "")
}

func TestRole(t *testing.T) {
	d := newDemo(t)
	check := func(status int, paths ...string) {
		t.Helper()
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				if res, raw := d.call(method, "/v1/clusters/demo/role/"+path, ""); res.StatusCode != status {
					t.Errorf("%s %s: %d, want %d: %s", method, path, res.StatusCode, status, raw)
				}
			}
		}
	}
	const yes, no = http.StatusOK, http.StatusServiceUnavailable
	check(yes, "primary", "primary/pg1", "primary?member=pg1", "replica", "replica/pg2", "replica/pg3?lag=200")
	check(no, "primary/pg2", "replica/pg1", "replica/pg3?lag=199", "replica/pg9")
	check(http.StatusBadRequest, "king", "replica?lag=-1", "primary?max_age=soon", "primary?membre=pg1")

	// Cut off, it says what it last knew: a healthy primary is not taken down.
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Quorum, n.Contact = false, time.Minute })
	check(yes, "primary/pg1", "primary/pg1?max_age=2m")
	check(no, "primary/pg1?max_age=30s")
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Quorum, n.Contact = true, 0 })

	d.loseHolder()
	check(no, "primary", "primary/pg1") // its lease is dead
	d.settle(witness.Confirmed, witness.GradeObserved, "off")
	check(no, "primary", "replica/pg1") // fenced
	d.apply(put("/service/demo/leader", "pg2", 2))
	check(yes, "primary/pg2", "replica/pg3")
	check(no, "primary/pg1", "replica/pg2")
	if res, _ := d.call("GET", "/v1/clusters/nope/role/primary", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("a cluster that is not there: %d", res.StatusCode)
	}
}

func TestHealth(t *testing.T) {
	d := newDemo(t)
	check := func(path string, status int, text string) {
		t.Helper()
		res, raw := d.call("GET", path, "")
		if res.StatusCode != status || !strings.Contains(raw, text) {
			t.Errorf("GET %s: %d %q, want %d with %q", path, res.StatusCode, raw, status, text)
		}
	}
	check("/healthz", http.StatusOK, "ok")
	check("/readyz", http.StatusOK, "ready: leader")
	check("/metrics", http.StatusOK, "quorate_state_index")
	d.mem.Describe(func(n *httpapi.NodeInfo) { n.Quorum, n.Contact = false, 12*time.Second })
	check("/healthz", http.StatusOK, "ok")
	check("/readyz", http.StatusServiceUnavailable, "no contact to a quorum for 12s")
}

func TestZones(t *testing.T) {
	d := newDemo(t)
	for _, zone := range []string{"db.example.org", "DB.example.org."} {
		if res, raw := d.call("GET", "/v1/dns/"+zone, ""); res.StatusCode != http.StatusOK || !strings.HasPrefix(raw, "$ORIGIN ") {
			t.Errorf("zone %s: %d %q", zone, res.StatusCode, raw)
		}
	}
	if res, _ := d.call("GET", "/v1/dns/other.org", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("a zone that is not there: %d", res.StatusCode)
	}
}
