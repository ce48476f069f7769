package simulated

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T, c Config) *BMC {
	t.Helper()
	bmc, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bmc.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return bmc
}

// ask sends a request with the right login; it returns status 0 if there was no answer.
func ask(t *testing.T, bmc *BMC, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, bmc.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "password")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	var o map[string]any
	_ = json.Unmarshal(data, &o)
	return resp.StatusCode, o, resp.Header
}

const forceOff = `{"ResetType":"ForceOff"}`

func reset(t *testing.T, bmc *BMC, body string) int {
	t.Helper()
	status, _, _ := ask(t, bmc, http.MethodPost, root+"/Systems/1/Actions/ComputerSystem.Reset", body)
	return status
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// TestLinks walks every link from the root: each leads to a resource that says the same path of itself.
func TestLinks(t *testing.T) {
	bmc := start(t, Config{Systems: []System{{}, {ID: "blade", ActionInfo: true}}, PDUs: []PDU{{Groups: map[string][]string{"db1": {"A1", "A2"}}}}})
	seen := map[string]bool{}
	queue := []string{root + "/"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		status, o, _ := ask(t, bmc, http.MethodGet, path, "")
		if status != http.StatusOK || o["@odata.id"] != path || o["@odata.type"] == nil {
			t.Errorf("%s: %d, %v", path, status, o)
		}
		queue = append(queue, links(o)...)
	}
	for _, want := range []string{"/Systems/blade/ResetActionInfo", "/Chassis/1", "/Managers/BMC", "/AccountService/Roles/Operator", "/SessionService/Sessions", "/PowerEquipment/RackPDUs/1/Outlets/A4", "/PowerEquipment/RackPDUs/1/OutletGroups/db1"} {
		if !seen[root+want] {
			t.Errorf("%s cannot be reached from the root; reached: %v", want, seen)
		}
	}
}

func links(v any) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if s, ok := child.(string); ok && (key == "@odata.id" || key == "@Redfish.ActionInfo") {
				found = append(found, s)
			}
			found = append(found, links(child)...)
		}
	case []any:
		for _, child := range v {
			found = append(found, links(child)...)
		}
	}
	return found
}

func TestHooks(t *testing.T) {
	var bmc *BMC
	fail := true
	calls := make(chan string, 10)
	hook := func(name string) func(context.Context, string) error {
		return func(_ context.Context, system string) error {
			calls <- name + " " + system
			if fail {
				fail = false
				return errors.New("the process would not die")
			}
			return nil
		}
	}
	bmc = start(t, Config{OnOff: hook("off"), OnOn: hook("on")})
	if status := reset(t, bmc, forceOff); status != http.StatusNoContent {
		t.Fatal(status)
	}
	if got := <-calls; got != "off 1" {
		t.Fatal(got)
	}
	reported := func(want string) func() bool {
		return func() bool {
			_, o, _ := ask(t, bmc, http.MethodGet, root+"/Systems/1", "")
			return o["PowerState"] == want
		}
	}
	await(t, "On again after the hook failed", reported(On))
	if bmc.Power("1") != On {
		t.Error("a system whose hook failed is off")
	}
	reset(t, bmc, forceOff)
	<-calls
	await(t, "Off", reported(Off))
	reset(t, bmc, `{"ResetType":"On"}`)
	if got := <-calls; got != "on 1" {
		t.Error(got)
	}
	await(t, "On", reported(On))
}

// TestLaterCommandWins: an On during a slow off is what remains.
func TestLaterCommandWins(t *testing.T) {
	bmc := start(t, Config{Delay: time.Hour})
	reset(t, bmc, forceOff)
	bmc.SetDelay(0)
	reset(t, bmc, `{"ResetType":"On"}`)
	await(t, "On", func() bool {
		_, o, _ := ask(t, bmc, http.MethodGet, root+"/Systems/1", "")
		return o["PowerState"] == On
	})
	if bmc.Power("1") != On {
		t.Error(bmc.Power("1"))
	}
}

func TestLogin(t *testing.T) {
	bmc := start(t, Config{Password: "other"})
	for path, want := range map[string]int{root: 200, "/redfish": 200, root + "/Systems/1": 401, root + "/Nothing": 404} {
		if status, _, _ := ask(t, bmc, http.MethodGet, path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if status := reset(t, bmc, forceOff); status != http.StatusUnauthorized || bmc.Power("1") != On {
		t.Errorf("%d, %s", status, bmc.Power("1"))
	}
}

func TestVanishAndComeBack(t *testing.T) {
	bmc := start(t, Config{})
	if err := bmc.SetFault(VanishAfterPost); err != nil {
		t.Fatal(err)
	}
	if status := reset(t, bmc, forceOff); status != http.StatusNoContent {
		t.Errorf("the command was answered %d", status)
	}
	if status, _, _ := ask(t, bmc, http.MethodGet, root, ""); status != 0 {
		t.Errorf("a vanished BMC answers %d", status)
	}
	if err := bmc.SetFault(); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := ask(t, bmc, http.MethodGet, root, ""); status != 200 {
		t.Errorf("it does not come back: %d", status)
	}
}

func TestControl(t *testing.T) {
	bmc := start(t, Config{})
	control := bmc.Control()
	do := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		control.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewBufferString(body)))
		return w.Code, w.Body.String()
	}
	if code, text := do("POST", "/control/fault", `{"faults":["lie","state-null"],"delay":"1.5s"}`); code != 200 || !strings.Contains(text, `"delay":"1.5s","faults":["lie","state-null"]`) {
		t.Errorf("%d %s", code, text)
	}
	if code, text := do("GET", "/control/fault", ""); code != 200 || !strings.Contains(text, "stall-connect") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := do("POST", "/control/power", `{"system":"1","power":"Off"}`); code != 200 || !strings.Contains(text, `"1":"Off"`) {
		t.Errorf("%d %s", code, text)
	}
	for path, body := range map[string]string{
		"/control/fault": `{"faults":["rust"]}`, "/control/fault?": `{"delay":"soon"}`, "/control/fault??": `{"fault":"lie"}`,
		"/control/power": `{"system":"9","power":"Off"}`, "/control/power?": `{"system":"1","power":"off"}`,
	} {
		if code, text := do("POST", path, body); code != http.StatusBadRequest {
			t.Errorf("%s %s: %d %s", path, body, code, text)
		}
	}
	if got := bmc.Fault(); len(got) != 2 {
		t.Errorf("a refused request changed the faults to %v", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"twice": {Systems: []System{{ID: "a"}, {ID: "a"}}},
		"state": {Systems: []System{{Power: "Sleeping"}}},
		"port":  {Listen: "127.0.0.1:nonsense"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestRunWaitsForHooks: nothing runs on after Run has returned.
func TestRunWaitsForHooks(t *testing.T) {
	begun, ended := make(chan struct{}), false
	bmc, err := New(Config{OnOff: func(ctx context.Context, _ string) error {
		close(begun)
		<-ctx.Done()
		ended = true
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bmc.Run(ctx) }()
	reset(t, bmc, forceOff)
	<-begun
	cancel()
	if err := <-done; err != nil || !ended {
		t.Errorf("%v, hook ended: %v", err, ended)
	}
	if bmc.Run(t.Context()) == nil {
		t.Error("it ran twice")
	}
}
