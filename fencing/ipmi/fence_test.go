package ipmi_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/types"

	"quorate/fencing"
	"quorate/fencing/ipmi"
)

// TestMain lets many tests wait at the same time: they wait for BMCs that never answer, and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" { // there it is the number of processes
		if err := flag.Set("test.parallel", "64"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// impatient gives up on a device that answers and is never off; its silence it bears for long, since machines have loads.
func impatient() fencing.Timing {
	return fencing.Timing{Attempt: 10 * time.Second, Contact: 30 * time.Second, Call: 30 * time.Second}
}

// brief gives up on a device that has fallen silent.
func brief() fencing.Timing {
	return fencing.Timing{Attempt: 20 * time.Second, Contact: 4 * time.Second, Call: 4 * time.Second}
}

// patient is for cases that must come to the device's own answer.
func patient() fencing.Timing {
	return fencing.Timing{Operation: 2 * time.Minute, Attempt: time.Minute, AttemptOn: time.Minute, Contact: 30 * time.Second, Call: 30 * time.Second}
}

// Datagrams, as the wire sees them.
func kind(p []byte) byte {
	if len(p) < 16 || p[4] != 6 {
		return 0
	}
	return p[5]
}

func silent(when func(toConsole bool, p []byte) bool) func(bool, []byte) [][]byte {
	return func(toConsole bool, p []byte) [][]byte {
		if when(toConsole, p) {
			return nil
		}
		return [][]byte{p}
	}
}

// forged is an answer outside of any session, in the format of IPMI 1.5, to the console's latest request: "the machine is
// off". go-ipmi v0.9.1 takes it, if nobody stops it.
func forged(seq byte) []byte {
	message := []byte{0x81, 0x01 << 2, 0, 0x20, seq << 2, 0x01, 0x00, 0, 0, 0, 0}
	head := []byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(message))}
	return append(head, message...)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	inSession := func(_ bool, p []byte) bool { return kind(p) == 0xc0 }
	cases := map[string]struct {
		options options
		config  func(*ipmi.Config)
		set     func(*machine)
		outcome fencing.Outcome
		on      bool // what the machine really does afterwards
		reason  string
	}{
		"healthy":                    {outcome: fencing.Confirmed},
		"slow off":                   {set: func(m *machine) { m.delay = 700 * time.Millisecond }, outcome: fencing.Confirmed},
		"already off":                {set: func(m *machine) { m.on = false }, outcome: fencing.Confirmed},
		"SHA-1 only":                 {options: options{suites: []types.CipherSuiteID{3}}, outcome: fencing.Confirmed},
		"right GUID":                 {config: func(c *ipmi.Config) { c.GUID = "00112233-4455-6677-8899-aabbccddeeff" }, outcome: fencing.Confirmed},
		"every request is lost once": {set: func(m *machine) { m.wire = lossy(false) }, outcome: fencing.Confirmed},
		"every answer is lost once":  {set: func(m *machine) { m.wire = lossy(true) }, outcome: fencing.Confirmed},
		"every answer comes twice": {
			set:     func(m *machine) { m.wire = twice },
			outcome: fencing.Confirmed,
		},
		"garbage before every answer": {
			set: func(m *machine) {
				m.wire = func(toConsole bool, p []byte) [][]byte {
					if !toConsole {
						return [][]byte{p}
					}
					short := append([]byte(nil), p...)
					binary.LittleEndian.PutUint16(short[14:], 3) // an encrypted payload that is no whole block
					return [][]byte{{6}, []byte("hello"), short[:19], short, p[:len(p)-1], p}
				}
			},
			outcome: fencing.Confirmed,
		},

		"silent":                     {set: func(m *machine) { m.wire = silent(func(bool, []byte) bool { return true }) }, outcome: fencing.Refused, on: true, reason: "first contact"},
		"silent after login":         {set: func(m *machine) { m.wire = silent(inSession) }, outcome: fencing.Refused, on: true, reason: "first contact"},
		"wrong password":             {config: func(c *ipmi.Config) { c.Password = "wrong" }, outcome: fencing.Refused, on: true, reason: "password"},
		"unknown user":               {config: func(c *ipmi.Config) { c.Username = "nobody" }, outcome: fencing.Refused, on: true, reason: "user name"},
		"low privilege":              {options: options{privilege: bmc.PrivilegeLevelUser}, outcome: fencing.Refused, on: true, reason: "privilege"},
		"no suite":                   {config: func(c *ipmi.Config) { c.CipherSuites = []int{17} }, options: options{suites: []types.CipherSuiteID{3}}, outcome: fencing.Refused, on: true, reason: "cipher suites"},
		"wrong GUID":                 {config: func(c *ipmi.Config) { c.GUID = strings.Repeat("ab", 16) }, outcome: fencing.Refused, on: true, reason: "wrong machine"},
		"downgraded":                 {set: func(m *machine) { m.wire = downgrade }, outcome: fencing.Refused, on: true, reason: "other algorithms"},
		"busy for ever":              {set: func(m *machine) { m.status = func() ([]byte, types.CompletionCode) { return nil, types.CodeNodeBusy } }, outcome: fencing.Unknown, on: false, reason: "last state unknown"},
		"short answers":              {set: func(m *machine) { m.status = func() ([]byte, types.CompletionCode) { return []byte{0}, types.CodeOK } }, outcome: fencing.Unknown, on: false, reason: "last state unknown"},
		"lie":                        {set: func(m *machine) { m.deaf = true }, outcome: fencing.Unknown, on: true, reason: "last state on"},
		"no power control":           {set: func(m *machine) { m.control = types.CodeInvalidCommand }, outcome: fencing.Refused, on: true, reason: "does not offer"},
		"not now":                    {set: func(m *machine) { m.control = types.CodeNotSupported }, outcome: fencing.Unknown, on: true, reason: "last state on"},
		"vanishes after the command": {set: vanish, outcome: fencing.Unknown, on: false, reason: "vanished"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startBMC(t, c.options)
			if c.set != nil {
				m.set(func() { c.set(m) })
			}
			cfg := config(m)
			if c.config != nil {
				c.config(&cfg)
			}
			tm := patient()
			switch {
			case c.reason == "first contact" || c.reason == "vanished":
				tm = brief()
			case c.outcome == fencing.Unknown:
				tm = impatient()
			case c.outcome == fencing.Confirmed:
				cfg.CallTimeout, cfg.Resend = 30*time.Second, 300*time.Millisecond
			}
			started := time.Now()
			r := fencing.Off(context.Background(), host(open(t, cfg)), tm)
			if r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Fatalf("%s, want %s with %q: %s", r.Outcome, c.outcome, c.reason, r.Reason)
			}
			if took := time.Since(started); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			if m.running() != c.on {
				t.Errorf("the machine is on: %t", m.running())
			}
			for _, control := range m.controls {
				if control != 0 {
					t.Errorf("chassis control %d was sent; only power down may be", control)
				}
			}
			data, err := json.Marshal(r)
			if err != nil || strings.Contains(string(data), password) {
				t.Errorf("%v; evidence %s", err, data)
			}
			if c.outcome == fencing.Confirmed && (r.Evidence.Grade != fencing.GradeObservedOff || !strings.Contains(string(data), "guid=33221100")) {
				t.Errorf("evidence %s", data)
			}
		})
	}
}

// lossy drops the first datagram of each type in one direction, and inside the session every other one.
func lossy(toConsole bool) func(bool, []byte) [][]byte {
	seen := map[byte]int{}
	return func(direction bool, p []byte) [][]byte {
		if direction != toConsole {
			return [][]byte{p}
		}
		seen[kind(p)]++
		if n := seen[kind(p)]; n == 1 || kind(p) == 0xc0 && n%2 == 1 {
			return nil
		}
		return [][]byte{p}
	}
}

// downgrade changes the answer to Open Session: no authentication, no encryption.
func downgrade(toConsole bool, p []byte) [][]byte {
	if toConsole && kind(p) == 0x11 && len(p) >= 16+36 {
		for _, algorithm := range []int{16, 24, 32} {
			p[16+algorithm] = 0
		}
	}
	return [][]byte{p}
}

// twice delivers every answer twice.
func twice(toConsole bool, p []byte) [][]byte {
	if toConsole {
		return [][]byte{p, p}
	}
	return [][]byte{p}
}

// vanish lets nothing through once the machine is off. It runs with m.mu held.
func vanish(m *machine) {
	m.wire = silent(func(bool, []byte) bool { return !m.running() })
}

// TestForgedOff: whatever is sent from the BMC's address without the session's key, a running machine stays "on".
func TestForgedOff(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(p []byte) [][]byte{
		"outside of the session": func(p []byte) [][]byte {
			var flood [][]byte
			for seq := range byte(32) {
				flood = append(flood, forged(seq))
			}
			return append(flood, p)
		},
		"not authenticated": func(p []byte) [][]byte {
			q := append([]byte(nil), p...)
			q[5] = 0x00
			return [][]byte{q, p}
		},
		"one bit changed": func(p []byte) [][]byte {
			q := append([]byte(nil), p...)
			q[40] ^= 1
			return [][]byte{q, p}
		},
		"code cut off": func(p []byte) [][]byte { return [][]byte{p[:len(p)-4], p} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startBMC(t, options{})
			m.set(func() {
				m.deaf = true
				m.wire = func(toConsole bool, p []byte) [][]byte {
					if toConsole && kind(p) == 0xc0 {
						return tamper(p)
					}
					return [][]byte{p}
				}
			})
			r := fencing.Off(context.Background(), host(open(t, config(m))), impatient())
			if r.Outcome != fencing.Unknown || !strings.Contains(r.Reason, "last state on") {
				t.Fatalf("%s: %s", r.Outcome, r.Reason)
			}
		})
	}
}

// TestReplayedOff: an "off" that was true once is not taken again, after somebody has switched the machine on.
func TestReplayedOff(t *testing.T) {
	t.Parallel()
	m := startBMC(t, options{})
	m.set(func() { m.on = false })
	d := open(t, config(m))
	var mu sync.Mutex
	var recorded [][]byte
	m.set(func() {
		m.wire = func(toConsole bool, p []byte) [][]byte {
			if toConsole && kind(p) == 0xc0 {
				mu.Lock()
				recorded = append(recorded, p)
				mu.Unlock()
			}
			return [][]byte{p}
		}
	})
	if r, err := d.Read(t.Context()); err != nil || r.State != fencing.PowerOff {
		t.Fatalf("%+v, %v", r, err)
	}
	m.set(func() {
		m.on = true
		mu.Lock()
		old := recorded
		mu.Unlock()
		m.wire = func(toConsole bool, p []byte) [][]byte {
			if toConsole {
				return append(append([][]byte(nil), old...), p)
			}
			return [][]byte{p}
		}
	})
	for range 70 { // the sequence number of a request has six bits: it comes round
		if r, err := d.Read(t.Context()); err != nil || r.State != fencing.PowerOn {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSessions: a BMC with one session serves one fence after another, because each logs out; and when it has none left,
// nothing is confirmed.
func TestSessions(t *testing.T) {
	t.Parallel()
	m := startBMC(t, options{sessions: 1})
	for range 3 {
		m.set(func() { m.on = true })
		if r := fencing.Off(context.Background(), host(open(t, config(m))), patient()); r.Outcome != fencing.Confirmed {
			t.Fatalf("%s: %s", r.Outcome, r.Reason)
		}
	}
	m.set(func() { m.on = true })
	other := open(t, config(m))
	if _, err := other.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := fencing.Off(context.Background(), host(open(t, config(m))), patient())
	if r.Outcome != fencing.Refused || !strings.Contains(r.Reason, "no session left") {
		t.Fatalf("%s: %s", r.Outcome, r.Reason)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReboot: off is proven, then on; cycle and reset are never sent.
func TestReboot(t *testing.T) {
	t.Parallel()
	m := startBMC(t, options{})
	r := fencing.Reboot(context.Background(), host(open(t, config(m))), patient())
	if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Confirmed || !m.running() {
		t.Fatalf("%+v", r)
	}
	if string(m.controls) != "\x00\x01" {
		t.Errorf("chassis control %v, want power down and power up", m.controls)
	}
}

// TestNextLevel: a silent BMC is left, and the second level proves it.
func TestNextLevel(t *testing.T) {
	t.Parallel()
	bad, good := startBMC(t, options{}), startBMC(t, options{})
	bad.set(func() { bad.wire = silent(func(bool, []byte) bool { return true }) })
	tm := patient()
	tm.Contact = 2 * time.Second
	r := fencing.Off(context.Background(), host(open(t, config(bad)), open(t, config(good))), tm)
	if r.Outcome != fencing.Confirmed || r.Evidence.Level != 2 || good.running() || !bad.running() {
		t.Fatalf("%s: %s", r.Outcome, r.Reason)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := startBMC(t, options{suites: []types.CipherSuiteID{3}})
	d := open(t, config(m))
	ready, err := d.Check(t.Context())
	if err != nil || !ready.Ready() || ready.Reading.State != fencing.PowerOn {
		t.Fatalf("%+v, %v", ready, err)
	}
	for _, want := range []string{`guid "33221100-5544-7766-8899-aabbccddeeff"`, "cipher suite 3"} {
		if !strings.Contains(strings.Join(ready.Warnings, "\n"), want) {
			t.Errorf("no warning about %s: %q", want, ready.Warnings)
		}
	}
	if len(m.controls) > 0 || !m.running() {
		t.Errorf("Check changed something: %v", m.controls)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	_, err := ipmi.Open(map[string]string{
		"address": "http://bmc/", "username": strings.Repeat("u", 17), "password": strings.Repeat("p", 21), "guid": "12",
		"cipher_suites": "0,x", "privilege": "god", "call_timeout": "-1s", "colour": "red",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"address", "username", "password", "guid", "cipher_suites", "privilege", "call_timeout", "colour"} {
		if !strings.Contains(err.Error(), "ipmi: "+want) {
			t.Errorf("no fault about %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "ppp") {
		t.Errorf("the password is in the error: %v", err)
	}
	d, err := ipmi.Open(map[string]string{"address": "bmc.example", "username": "fence", "password": "p", "cipher_suites": "17"})
	if err != nil || d.Name() != "bmc.example" {
		t.Fatal(d, err)
	}
}
