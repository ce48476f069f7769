package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/relay"
)

// TestMain lets many tests wait at the same time: they wait for relays that never answer, and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" { // there it is the number of processes
		if err := flag.Set("test.parallel", "64"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

func patient() fencing.Timing {
	return fencing.Timing{Operation: 2 * time.Minute, Attempt: time.Minute, AttemptOn: time.Minute, Contact: 30 * time.Second, Call: 30 * time.Second}
}

// impatient gives up on a device that answers and is never off; its silence it bears for long, since machines have loads.
func impatient() fencing.Timing {
	return fencing.Timing{Attempt: 10 * time.Second, Contact: 30 * time.Second, Call: 30 * time.Second}
}

// brief gives up on a device that has fallen silent.
func brief() fencing.Timing {
	return fencing.Timing{Attempt: 20 * time.Second, Contact: 4 * time.Second, Call: 4 * time.Second}
}

// models with two of their outputs.
var models = map[string][2]int{"shelly-gen1": {0, 1}, "shelly-gen2": {0, 1}, "tasmota": {1, 2}, "netio": {1, 3}, "gude": {2, 5}}

func config(s *sim, outputs ...int) relay.Config {
	c := relay.Config{
		Name: "relay", Model: s.model, URL: s.url, Insecure: true, Username: user, Password: password, Outputs: outputs, Identity: mac,
		CallTimeout: 30 * time.Second,
	}
	if s.model == "gude" {
		c.Identity = ""
	}
	return c
}

func open(t *testing.T, c relay.Config) *relay.Device {
	t.Helper()
	d, err := relay.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func host(d fencing.Device) fencing.Host {
	return fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}
}

func TestModels(t *testing.T) {
	t.Parallel()
	for model, outputs := range models {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			s := start(t, model, outputs[0], outputs[1], 7)
			r := fencing.Reboot(context.Background(), host(open(t, config(s, outputs[:]...))), patient())
			if r.Off.Outcome != fencing.Confirmed || r.Off.Evidence.Grade != fencing.GradeFeedsOff || r.On == nil || r.On.Outcome != fencing.Confirmed {
				t.Fatalf("%+v", r)
			}
			if !s.running(outputs[0]) || !s.running(outputs[1]) || !s.running(7) {
				t.Error("an output is off")
			}
			if off := fencing.Off(context.Background(), host(open(t, config(s, outputs[1]))), patient()); off.Outcome != fencing.Confirmed {
				t.Errorf("%s: %s", off.Outcome, off.Reason)
			}
			if !s.running(outputs[0]) || s.running(outputs[1]) || !s.running(7) {
				t.Error("the wrong output was switched")
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		set     func(*sim)
		config  func(*relay.Config)
		outcome fencing.Outcome
		on      bool
		reason  string
	}{
		"silent":         {set: func(s *sim) { s.fault = "silent" }, outcome: fencing.Refused, on: true, reason: "first contact"},
		"unauthorized":   {set: func(s *sim) { s.fault = "unauthorized" }, outcome: fencing.Refused, on: true},
		"wrong password": {config: func(c *relay.Config) { c.Password = "wrong" }, outcome: fencing.Refused, on: true},
		"redirect":       {set: func(s *sim) { s.fault = "redirect" }, outcome: fencing.Unknown, on: true},
		"500":            {set: func(s *sim) { s.fault = "500" }, outcome: fencing.Unknown, on: true, reason: ""},
		"a login page":   {set: func(s *sim) { s.fault = "html" }, outcome: fencing.Unknown, on: true},
		"empty":          {set: func(s *sim) { s.fault = "empty" }, outcome: fencing.Unknown, on: true},
		"lie":            {set: func(s *sim) { s.fault = "lie" }, outcome: fencing.Unknown, on: true, reason: "last state on"},
		"state null":     {set: func(s *sim) { s.answer = "null" }, outcome: fencing.Unknown},
		"state a word":   {set: func(s *sim) { s.answer = `"of"` }, outcome: fencing.Unknown},
		"state a number": {set: func(s *sim) { s.answer = "2" }, outcome: fencing.Unknown},
		"vanishes":       {set: func(s *sim) { s.fault = "vanish" }, outcome: fencing.Unknown, reason: "vanished"},
		"wrong device":   {config: func(c *relay.Config) { c.Identity = "00:00:00:00:00:01" }, outcome: fencing.Refused, on: true, reason: "wrong device"},
	}
	for model, outputs := range models {
		for name, c := range cases {
			t.Run(model+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := start(t, model, outputs[0], 7)
				if c.set != nil {
					c.set(s)
				}
				cfg := config(s, outputs[0])
				if model == "gude" && name == "wrong device" {
					t.Skip("a GUDE strip cannot be asked who it is")
				}
				if c.config != nil {
					c.config(&cfg)
				}
				tm := patient()
				switch {
				case name == "silent" || name == "vanishes":
					tm = brief()
				case c.outcome == fencing.Unknown:
					tm = impatient()
				}
				r := fencing.Off(context.Background(), host(open(t, cfg)), tm)
				// A device that answers everything with the same nonsense is not recognised, or reads as unknown.
				if r.Outcome == fencing.Confirmed || c.outcome == fencing.Refused && r.Outcome != fencing.Refused {
					t.Fatalf("%s, want %s: %s", r.Outcome, c.outcome, r.Reason)
				}
				if !strings.Contains(r.Reason, c.reason) {
					t.Errorf("the reason lacks %q: %s", c.reason, r.Reason)
				}
				if c.on != s.running(outputs[0]) && r.Outcome == fencing.Refused {
					t.Errorf("refused, but the output is on: %t", s.running(outputs[0]))
				}
				if data, err := json.Marshal(r); err != nil || strings.Contains(string(data), "s3cret") {
					t.Errorf("%v; the password is in the evidence: %s", err, data)
				}
				if !s.running(7) {
					t.Error("another output was switched off")
				}
			})
		}
	}
}

// TestTimer: an output that is off only until its timer runs down is not off.
func TestTimer(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"shelly-gen1", "shelly-gen2"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			s := start(t, model, 0)
			s.set("timer")
			s.mu.Lock()
			s.on[0] = false
			s.mu.Unlock()
			r := fencing.Off(context.Background(), host(open(t, config(s, 0))), impatient())
			if r.Outcome == fencing.Confirmed || !strings.Contains(r.Reason, "transition") {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
		})
	}
}

// TestDigest: SHA-256 and MD5; the password never travels in any other form than the digest, and not in an address.
func TestDigest(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"SHA-256", "MD5"} {
		s := start(t, "shelly-gen2", 0)
		s.algo = algorithm
		if r := fencing.Off(context.Background(), host(open(t, config(s, 0))), patient()); r.Outcome != fencing.Confirmed {
			t.Errorf("%s: %s: %s", algorithm, r.Outcome, r.Reason)
		}
		if all := strings.Join(s.seen(), "\n"); strings.Contains(all, "s3cret") {
			t.Error(all)
		}
	}
}

// TestTasmotaAddress: Tasmota takes the password in the address, so no error may show an address.
func TestTasmotaAddress(t *testing.T) {
	t.Parallel()
	s := start(t, "tasmota", 1)
	c := config(s, 1)
	c.Identity = ""
	c.URL = "http://127.0.0.1:1"
	_, err := open(t, c).Read(t.Context())
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "cmnd") {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := start(t, "netio", 1)
	c := config(s, 1)
	c.Identity = ""
	ready, err := open(t, c).Check(t.Context())
	if err != nil || !ready.Ready() || ready.Reading.State != fencing.PowerOn || !s.running(1) {
		t.Fatalf("%+v, %v", ready, err)
	}
	if all := strings.Join(ready.Warnings, "\n"); !strings.Contains(all, "not protected") || !strings.Contains(all, "not pinned") {
		t.Errorf("%q", all)
	}
	missing := config(s, 4)
	ready, err = open(t, missing).Check(t.Context())
	if err != nil || ready.Ready() {
		t.Errorf("output 4 does not exist: %+v, %v", ready, err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	_, err := relay.Open(map[string]string{
		"model": "toaster", "url": "http://u:hidden@x/y", "output": "x", "cert_sha256": "12", "insecure": "perhaps", "call_timeout": "0s", "colour": "red",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"model", "url", "output", "cert_sha256", "insecure", "call_timeout", "colour"} {
		if !strings.Contains(err.Error(), "relay: "+want) {
			t.Errorf("no fault about %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	for _, bad := range []relay.Config{
		{Model: "gude", URL: "https://x", Outputs: []int{1}, Identity: mac},
		{Model: "netio", URL: "https://x", Outputs: []int{0}},
		{Model: "netio", URL: "https://x", Outputs: []int{1, 1}},
		{Model: "netio", URL: "http://x", Outputs: []int{1}},
	} {
		if _, err := relay.New(bad); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
	if d, err := relay.Open(map[string]string{"model": "netio", "url": "https://strip.example", "output": "1,2"}); err != nil || d.Name() != "strip.example 1,2" {
		t.Error(d, err)
	}
}

// TestLoginIsNotHammered: a rejected login ends the attempt at the first output.
func TestLoginIsNotHammered(t *testing.T) {
	t.Parallel()
	s := start(t, "netio", 1, 2, 3)
	c := config(s, 1, 2, 3)
	c.Password, c.Identity = "wrong", ""
	if err := open(t, c).Off(t.Context()); !errors.Is(err, fencing.ErrPermanent) {
		t.Errorf("%v", err)
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests: %q", n, s.seen())
	}
	r := fencing.Off(context.Background(), host(open(t, c)), patient())
	if r.Outcome != fencing.Refused || len(s.seen()) != 2 {
		t.Errorf("%s after %d requests", r.Outcome, len(s.seen()))
	}
}
