package redfish

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestAging(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		notAfter time.Time
		ahead    time.Duration
		want     string
	}{
		"young":      {now.AddDate(0, 3, 0), 2 * time.Minute, ""},
		"soon":       {now.AddDate(0, 0, 20), 0, "expires on 2026-12-15"},
		"expired":    {now.AddDate(0, 0, -1), 0, "expired on 2026-11-24"},
		"clock slow": {now.AddDate(1, 0, 0), -time.Hour, "clock is 1h0m0s off"},
		"clock fast": {now.AddDate(1, 0, 0), 6 * time.Minute, "clock is 6m0s off"},
	} {
		var w wire
		w.cert.Store(&x509.Certificate{NotAfter: c.notAfter})
		w.ahead.Store(&c.ahead)
		got := strings.Join(w.aging(now), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := new(wire).aging(now); len(got) > 0 {
		t.Errorf("nothing seen, yet %q", got)
	}
}
