package redfish_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

func TestTrust(t *testing.T) {
	bmc := startBMC(t, simulated.Config{})
	cert, err := bmc.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	spki := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, bmc.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		trust func(*redfish.Config)
		ok    bool
	}{
		"certificate pin":       {func(c *redfish.Config) { c.CertSHA256 = bmc.Fingerprint() }, true},
		"key pin":               {func(c *redfish.Config) { c.SPKISHA256 = base64.StdEncoding.EncodeToString(spki[:]) }, true},
		"CA file":               {func(c *redfish.Config) { c.CAFile = caFile }, true},
		"insecure":              {func(c *redfish.Config) { c.Insecure = true }, true},
		"nothing":               {func(*redfish.Config) {}, false},
		"wrong certificate pin": {func(c *redfish.Config) { c.CertSHA256 = strings.Repeat("ab", 32) }, false},
		"certificate as key":    {func(c *redfish.Config) { c.SPKISHA256 = bmc.Fingerprint() }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := config(bmc)
			cfg.CertSHA256 = ""
			c.trust(&cfg)
			d := open(t, cfg)
			r, err := d.Read(t.Context())
			if c.ok && (err != nil || r.State != fencing.PowerOn) {
				t.Fatalf("%+v, %v", r, err)
			}
			if !c.ok && !errors.Is(err, fencing.ErrPermanent) {
				t.Fatalf("%+v, %v; want a permanent error", r, err)
			}
			if err := d.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCredentialsStayHome: neither a redirect nor a link takes a login to another server.
func TestCredentialsStayHome(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		leaked = append(leaked, r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("X-Auth-Token"))
	}))
	defer thief.Close()
	host := strings.TrimPrefix(thief.URL, "https://")

	const systems = `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}`
	answers := map[string]map[string]string{
		"target elsewhere": {"/redfish/v1/Systems": systems, "/redfish/v1/Systems/1": system(thief.URL + "/steal")},
		"target as user":   {"/redfish/v1/Systems": systems, "/redfish/v1/Systems/1": system("@" + host + "/steal")},
		"target //":        {"/redfish/v1/Systems": systems, "/redfish/v1/Systems/1": system("//" + host + "/steal")},
		"member as user":   {"/redfish/v1/Systems": `{"Members":[{"@odata.id":"@` + host + `/steal"}]}`},
		"member elsewhere": {"/redfish/v1/Systems": `{"Members":[{"@odata.id":"` + thief.URL + `/steal"}]}`},
		"redirect":         {"/redfish/v1/Systems": "redirect:" + thief.URL + "/steal"},
	}
	for name, pages := range answers {
		t.Run(name, func(t *testing.T) {
			bmc := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				page, ok := pages[r.URL.Path]
				to, redirect := strings.CutPrefix(page, "redirect:")
				switch {
				case redirect:
					http.Redirect(w, r, to, http.StatusTemporaryRedirect)
				case r.URL.Path == "/redfish/v1/":
					_, _ = w.Write([]byte(`{"Systems":{"@odata.id":"/redfish/v1/Systems"}}`))
				case !ok:
					http.NotFound(w, r)
				default:
					_, _ = w.Write([]byte(page))
				}
			}))
			defer bmc.Close()
			d := open(t, redfish.Config{URL: bmc.URL, Username: "admin", Password: "p", Insecure: true})
			_, readErr := d.Read(t.Context())
			offErr := d.Off(t.Context())
			if !errors.Is(offErr, fencing.ErrPermanent) {
				t.Errorf("read: %v; off: %v; want a permanent error", readErr, offErr)
			}
			_ = d.Close(context.Background())
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if len(leaked) > 0 {
		t.Errorf("requests that reached another server: %q", leaked)
	}
}

func system(target string) string {
	return `{"@odata.type":"#ComputerSystem.v1_0_0.ComputerSystem","PowerState":"On","Actions":{"#ComputerSystem.Reset":{"target":"` + target + `"}}}`
}
