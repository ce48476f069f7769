//go:build integration

package fencing

import (
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/test/snmppdu"
)

// TestFaults: whatever a PDU does, a success is claimed only if both outlets are really off, and every attempt ends.
func TestFaults(t *testing.T) {
	const short = 10 * time.Second // of an attempt that cannot succeed
	cases := map[string]struct {
		profile, outlets string
		first, second    string // their names in the state file
		settings         snmppdu.Settings
		more             map[string]string
		want             fencing.Outcome
		says             string
	}{
		// Carried out, and answered after the driver has given up waiting: the state decides.
		"slow answer to the Set": {
			profile: "apc-rpdu", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.SlowSet}, Slow: time.Second},
			more:     map[string]string{"timeout": "200ms"}, want: fencing.Confirmed,
		},
		"lies": {
			profile: "apc-rpdu", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Lie}}, want: fencing.Unknown, says: "not off within",
		},
		"lies about one outlet": {
			profile: "apc-rpdu2", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.LieBad}, Bad: "5"}, want: fencing.Unknown, says: "3=off(1) 5=on(2)",
		},
		"pending for ever, by its state": {
			profile: "eaton-epdu", outlets: "3,5", first: "0.3", second: "0.5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Pending}}, want: fencing.Unknown, says: "pendingOff(2)",
		},
		"pending for ever, by its column": {
			profile: "apc-rpdu", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Pending}}, want: fencing.Unknown, says: "on(1) pending",
		},
		// Off, with a command that may switch it on again.
		"off with a command that waits": {
			profile: "cyberpower-epdu", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Waiting}}, want: fencing.Unknown, says: "off(2) pending",
		},
		"one outlet is locked and refuses": {
			profile: "raritan-px2", outlets: "3,5", first: "1.3", second: "1.5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.LockedBad}, Bad: "1.5"}, want: fencing.Unknown, says: "outlet 5 (NotWritable)",
		},
		"the only outlet is locked and refuses": {
			profile: "servertech-sentry4", outlets: "1.1.5", first: "1.1.5", second: "1.1.5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.LockedBad}, Bad: "1.1.5"}, want: fencing.Refused, says: "NotWritable",
		},
		"one outlet is locked and says so": {
			profile: "avocent-pm", outlets: "1.3,1.5", first: "1.1.3", second: "1.1.5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.LockedWord}, Bad: "1.1.5"}, want: fencing.Unknown, says: "onLocked(4)",
		},
		"refuses for now": {
			profile: "servertech-sentry3", outlets: "1.1.3,1.1.5", first: "1.1.3", second: "1.1.5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Busy}}, want: fencing.Unknown, says: "not off within",
		},
		"an outlet disappears": {
			profile: "apc-rpdu", outlets: "3,5", first: "3", second: "5",
			settings: snmppdu.Settings{Faults: []snmppdu.Fault{snmppdu.Vanish}, Bad: "5"}, want: fencing.Unknown, says: "NoSuchInstance",
		},
	}
	for name, c := range cases {
		for _, version := range []string{"2c", "3"} {
			t.Run(name+"/"+version, func(t *testing.T) {
				t.Parallel()
				p := startPDU(t, c.profile, 0)
				p.configure(c.settings)
				more := map[string]string{}
				for k, v := range c.more {
					more[k] = v
				}
				if version != "3" {
					more["version"] = version
				}
				limit := short
				if c.want == fencing.Confirmed {
					limit = bound
				}
				timing := patient(limit)
				timing.Resend = time.Hour // what the first command brings about is what is looked at
				r := fencing.Off(t.Context(), host(device(t, p, c.profile, c.outlets, more)), timing)
				if r.Outcome != c.want || !strings.Contains(r.Reason, c.says) {
					t.Errorf("%s: %s", r.Outcome, r.Reason)
				}
				if r.Outcome == fencing.Confirmed && (p.on(c.first) || p.on(c.second)) {
					t.Errorf("a false success: outlets are %s", p.really(c.first, c.second))
				}
				if r.Outcome == fencing.Refused && !p.on(c.first) {
					t.Errorf("refused, but the outlet was switched off")
				}
				for _, o := range others(p, c.first, c.second) {
					if !p.on(o) {
						t.Errorf("outlet %s, which is not ours, is off", o)
					}
				}
			})
		}
	}
}

// TestLostAnswer: the PDU carries the Set out and its answer is lost on the way. The next reading tells.
func TestLostAnswer(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	r := startRelay(t, p)
	r.loseAnswers(3)
	d := device(t, p, "apc-rpdu", "3,5", map[string]string{"version": "2c", "address": r.address(), "timeout": "200ms"})
	res := fencing.Off(t.Context(), host(d), patient(bound))
	if res.Outcome != fencing.Confirmed || p.on("3") || p.on("5") {
		t.Fatalf("%s: %s; outlets are %s", res.Outcome, res.Reason, p.really("3", "5"))
	}
	steps := res.Evidence.Devices[0].Steps
	if len(steps) < 2 || !strings.Contains(steps[1].Error, "may have been carried out") {
		t.Errorf("%+v", steps)
	}
}

// TestFrozenPDU: one that says nothing is given up, and the level below it is tried.
func TestFrozenPDU(t *testing.T) {
	frozen, next := startPDU(t, "apc-rpdu", 0), startPDU(t, "eaton-epdu", 0)
	frozen.freeze()
	defer frozen.thaw()
	timing := patient(bound)
	timing.Contact = 2 * time.Second
	h := fencing.Host{Name: "db1", Levels: []fencing.Level{
		{device(t, frozen, "apc-rpdu", "3", nil)}, {device(t, next, "eaton-epdu", "3,5", nil)},
	}}
	r := fencing.Off(t.Context(), h, timing)
	if r.Outcome != fencing.Confirmed || r.Evidence.Level != 2 || next.on("0.3") || next.on("0.5") || !frozen.on("3") {
		t.Errorf("%s, level %d: %s", r.Outcome, r.Evidence.Level, r.Reason)
	}
}

// TestRestartedPDU: its engine counts boots and begins its time again, which version 3 has to notice.
func TestRestartedPDU(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	d := device(t, p, "apc-rpdu", "3", nil)
	if _, err := d.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.kill()
	p.start()
	if !p.answers() {
		t.Fatal("snmpd does not come back")
	}
	r := fencing.Off(t.Context(), host(d), patient(bound))
	if r.Outcome != fencing.Confirmed || p.on("3") {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
}

// TestTwoPDUs: the feeds are on two PDUs of different vendors, one of them slow. Both go off, and on comes only after that.
func TestTwoPDUs(t *testing.T) {
	a, b := startPDU(t, "raritan-px2", 0), startPDU(t, "apc-rpdu2", 2*time.Second)
	h := host(device(t, a, "raritan-px2", "4", nil), device(t, b, "apc-rpdu2", "4", nil))
	r := fencing.Reboot(t.Context(), h, patient(bound))
	if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Confirmed || !a.on("1.4") || !b.on("4") {
		t.Fatalf("%+v", r)
	}
	bOff := b.state().Sets[0].At.Add(2 * time.Second) // when the slow one went off
	for _, s := range append(a.state().Sets, b.state().Sets...) {
		if on := s.Value == "1"; on && s.At.Before(bOff) {
			t.Errorf("a feed was told to go on at %v, before the other was off at %v", s.At, bOff)
		}
	}
}
