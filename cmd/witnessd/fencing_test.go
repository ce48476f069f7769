package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/fencing/simulated"
	"quorate/witness/httpapi"
)

// call asks a witness and returns the status and the body of its answer.
func (c *trio) call(node int, method, path, body string) (int, []byte) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.ctx, method, "http://"+c.nodes[node].HTTP+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/yaml")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatal(err)
	}
	return res.StatusCode, raw
}

// Three real witnesses and a BMC that speaks Redfish: every one of them can use
// the device, whose password none of them has written down; a reboot comes to
// its end on any of them.
func TestFencingByThreeWitnesses(t *testing.T) {
	const password = "correct-horse-battery"
	c := startTrio(t)
	bmc, err := simulated.New(simulated.Config{User: "op", Password: password, Systems: []simulated.System{{HostName: "db1"}}})
	if err != nil {
		t.Fatal(err)
	}
	bctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- bmc.Run(bctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	config := fmt.Sprintf(`
devices:
- {name: bmc1, driver: redfish, settings: {url: %q, username: op, password: %s, cert_sha256: %q}}
hosts:
- {name: db1, addresses: [127.0.0.9], fence: [{level: 1, device: bmc1}]}
`, bmc.URL(), password, bmc.Fingerprint())
	c.eventually("the configuration is applied", func() error {
		if status, raw := c.call(1, "PUT", "/v1/config?by=anna", config); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, raw)
		}
		return nil
	})
	for i := range c.nodes {
		c.eventually(name(i)+" can use the BMC", func() error {
			var body struct{ Test httpapi.FenceTest }
			status, raw := c.call(i, "POST", "/v1/hosts/db1/fence-test", "")
			if err := json.Unmarshal(raw, &body); err != nil || status != http.StatusOK || len(body.Test.Devices) != 1 || !body.Test.Devices[0].Ready {
				return fmt.Errorf("%d %s (%w)", status, raw, err)
			}
			return nil
		})
	}
	status, raw := c.call(2, "POST", "/v1/fences", `{"op":"reboot","host":"db1","by":"anna","reason":"test","key":"k","wait":"2m"}`)
	var done httpapi.RequestBody
	if err := json.Unmarshal(raw, &done); err != nil || status != http.StatusOK || done.Request.Status != "done" || done.Request.Off == "" {
		t.Fatalf("reboot: %d %s (%v)", status, raw, err)
	}
	// The same file again changes nothing, although secrets are sealed at random.
	if status, raw := c.call(0, "PUT", "/v1/config?by=anna", config); status != http.StatusOK || !bytes.Contains(raw, []byte(`"applied":false`)) {
		t.Errorf("the same configuration again: %d %s", status, raw)
	}
	if status, raw := c.call(0, "POST", "/v1/secrets/rotate", `{"by":"anna","reason":"test"}`); status != http.StatusOK {
		t.Errorf("rotate: %d %s", status, raw)
	}
	c.eventually("the secret is sealed anew", func() error {
		var body httpapi.SecretsBody
		_, raw := c.call(1, "GET", "/v1/secrets", "")
		if err := json.Unmarshal(raw, &body); err != nil || body.Version != 2 || body.Sealed != 1 || body.Old != 0 || body.Clear != 0 {
			return fmt.Errorf("%s (%w)", raw, err)
		}
		return nil
	})
	if status, raw := c.call(0, "POST", "/v1/fences", `{"op":"off","host":"db1","by":"anna","reason":"test","wait":"2m"}`); status != http.StatusOK {
		t.Errorf("off after the rotation: %d %s", status, raw)
	}
	for i := range c.nodes {
		c.stop[i]()
		if found := filesWith(t, c.data[i], password); len(found) > 0 {
			t.Errorf("%s has the password in %v", name(i), found)
		}
	}
}

// filesWith returns the files below a folder that contain a text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var out []string
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		seen++
		if bytes.Contains(raw, []byte(text)) {
			out = append(out, path)
		}
		return err
	})
	if err != nil || seen < 2 {
		t.Fatalf("%d files in %s: %v", seen, dir, err)
	}
	return out
}

// The witness that does a reboot stops in the middle of it. The others carry on
// from what the log says, and the machine is switched on only once, at the end.
func TestRebootGoesOnElsewhere(t *testing.T) {
	c := startTrio(t)
	bmc, err := simulated.New(simulated.Config{Password: "secret-of-bmc", Systems: []simulated.System{{HostName: "db1"}}, Delay: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	bctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- bmc.Run(bctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	config := fmt.Sprintf(`
devices:
- {name: bmc1, driver: redfish, settings: {url: %q, username: admin, password: secret-of-bmc, cert_sha256: %q}}
hosts:
- {name: db1, addresses: [127.0.0.9], fence: [{level: 1, device: bmc1}]}
`, bmc.URL(), bmc.Fingerprint())
	c.eventually("the configuration is applied", func() error {
		if status, raw := c.call(0, "PUT", "/v1/config?by=anna", config); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, raw)
		}
		return nil
	})
	leader := c.leader()
	other := (leader + 1) % 3
	order := `{"op":"reboot","host":"db1","by":"anna","reason":"test","key":"once"}`
	c.eventually("the reboot is taken", func() error {
		if status, raw := c.call(other, "POST", "/v1/fences", order); status != http.StatusAccepted {
			return fmt.Errorf("%d %s", status, raw)
		}
		return nil
	})
	c.eventually("the machine is told to go off", func() error {
		if len(bmc.Commands()) == 0 {
			return errors.New("no command yet")
		}
		return nil
	})
	c.stop[leader]() // the machine needs 3 s more: the proof is for somebody else to find
	c.eventually("the reboot is over", func() error {
		var body httpapi.RequestBody
		status, raw := c.call(other, "POST", "/v1/fences", strings.Replace(order, `"key"`, `"wait":"20s","key"`, 1))
		if err := json.Unmarshal(raw, &body); err != nil || status != http.StatusOK || body.Request.Off == "" || body.Action.Kind != "fence-on" {
			return fmt.Errorf("%d %s (%w)", status, raw, err)
		}
		return nil
	})
	ons := 0
	for _, cmd := range bmc.Commands() {
		switch {
		case cmd.ResetType == "On":
			ons++
		case ons > 0:
			t.Errorf("%s after it was switched on: %+v", cmd.ResetType, bmc.Commands())
		}
	}
	if ons == 0 || bmc.Power("1") != "On" {
		t.Errorf("power %s after %+v", bmc.Power("1"), bmc.Commands())
	}
}
