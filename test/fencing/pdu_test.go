//go:build integration

package fencing

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	driver "quorate/fencing/pdu"
	"quorate/test/snmppdu"
)

// device opens our driver on a PDU, by SNMPv3 unless more says otherwise.
func device(t testing.TB, p *pdu, model, outlets string, more map[string]string) fencing.Device {
	t.Helper()
	settings := map[string]string{
		"address": p.address(), "model": model, "outlets": outlets,
		"username": userName, "auth_password": authPassword, "priv_password": privPassword,
	}
	if v := more["version"]; v == "1" || v == "2c" {
		settings = map[string]string{"address": p.address(), "model": model, "outlets": outlets, "community": writeCommunity}
	}
	maps.Copy(settings, more)
	d, err := driver.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func host(devices ...fencing.Device) fencing.Host {
	return fencing.Host{Name: "db1", Levels: []fencing.Level{devices}}
}

// patient has room for a busy machine; a device that does nothing is given up after limit.
func patient(limit time.Duration) fencing.Timing {
	return fencing.Timing{Contact: bound, Call: bound, Attempt: limit, AttemptOn: bound, Operation: 5 * bound}
}

// others are all outlets of a table but those named.
func others(p *pdu, but ...string) []string {
	return slices.DeleteFunc(slices.Clone(p.profile.Outlets), func(o string) bool { return slices.Contains(but, o) })
}

// snmpget is an independent reader: Debian's, of the status column alone.
func snmpget(t *testing.T, p *pdu, outlet string) string {
	t.Helper()
	oid := ".1.3.6.1.4.1." + strings.ReplaceAll(p.profile.StatusColumn, "{n}", outlet)
	cmd := exec.CommandContext(t.Context(), "snmpget", "-m", "", "-v2c", "-c", readCommunity, "-t", "10", "-Oqv", p.address(), oid)
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+filepath.Join(p.folder, "snmpget"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("snmpget %s: %v", oid, err)
	}
	return strings.TrimSpace(string(out))
}

// TestEveryTable switches two outlets of every vendor's table off and on again, and looks at all of them.
func TestEveryTable(t *testing.T) {
	versions := []map[string]string{nil, {"version": "2c"}, {"version": "1"}}
	for i, name := range slices.Sorted(maps.Keys(snmppdu.Profiles)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPDU(t, name, 50*time.Millisecond)
			first, second := p.profile.Outlets[2], p.profile.Outlets[4]
			outlets := first + "," + second
			if strings.Count(first, ".") == 2 && name == "apc-msp" { // the middle number is part of the table, not of the outlet
				outlets = "1.3,1.5"
			}
			d := device(t, p, name, outlets, versions[i%len(versions)])
			expect := func(on bool, list ...string) {
				t.Helper()
				want := map[bool]int{true: p.profile.StatusOn, false: p.profile.StatusOff}[on]
				for _, o := range list {
					if got := snmpget(t, p, o); p.on(o) != on || got != fmt.Sprint(want) {
						t.Errorf("outlet %s is on: %v, want %v; snmpget reads %s, want %d", o, p.on(o), on, got, want)
					}
				}
			}
			off := fencing.Off(t.Context(), host(d), patient(bound))
			if off.Outcome != fencing.Confirmed || off.Evidence.Grade != fencing.GradeFeedsOff || len(off.Evidence.Devices[0].Parts) != 2 {
				t.Fatalf("%s: %s", off.Outcome, off.Reason)
			}
			expect(false, first, second)
			expect(true, others(p, first, second)...)
			again := fencing.Off(t.Context(), host(d), patient(bound))
			if again.Outcome != fencing.Confirmed || len(again.Evidence.Devices[0].Steps) != 1 {
				t.Errorf("off again: %s %+v", again.Outcome, again.Evidence.Devices[0].Steps)
			}
			if on := fencing.On(t.Context(), host(d), patient(bound)); on.Outcome != fencing.Confirmed {
				t.Fatalf("%s: %s", on.Outcome, on.Reason)
			}
			expect(true, p.profile.Outlets...)
		})
	}
}

// TestOneSetForAllOutlets: both outlets are in one request, so that neither waits for the other.
func TestOneSetForAllOutlets(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 50*time.Millisecond)
	r := startRelay(t, p)
	d := device(t, p, "apc-rpdu", "3,5,7", map[string]string{"version": "2c", "address": r.address()})
	if res := fencing.Off(t.Context(), host(d), patient(bound)); res.Outcome != fencing.Confirmed {
		t.Fatal(res.Reason)
	}
	if sets := p.state().Sets; r.sets() != 1 || len(sets) != 3 {
		t.Errorf("%d requests wrote %+v", r.sets(), sets)
	}
}

// TestAlgorithms logs in with every authentication and privacy algorithm that net-snmp has.
func TestAlgorithms(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	ours := map[string][2]string{
		userName: {"SHA", "AES"}, "sha224": {"SHA-224", "AES"}, "sha256": {"SHA-256", "AES"}, "sha384": {"SHA-384", "AES-192"},
		"sha512": {"SHA-512", "AES-256"}, "reeder192": {"SHA", "AES-192-C"}, "reeder256": {"SHA-256", "AES-256-C"},
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		d := device(t, p, "apc-rpdu", "3", map[string]string{"username": name, "auth_protocol": ours[name][0], "priv_protocol": ours[name][1]})
		off := fencing.Off(t.Context(), host(d), patient(bound))
		if off.Outcome != fencing.Confirmed || p.on("3") {
			t.Errorf("%s %v: %s: %s", name, ours[name], off.Outcome, off.Reason)
			continue
		}
		if on := fencing.On(t.Context(), host(d), patient(bound)); on.Outcome != fencing.Confirmed || !p.on("3") {
			t.Errorf("%s %v: %s: %s", name, ours[name], on.Outcome, on.Reason)
		}
	}
}

// TestRefusals: what cannot work fails at once, says why, and nothing has been switched.
func TestRefusals(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	for name, c := range map[string]struct {
		model, outlets string
		more           map[string]string
		want           string
	}{
		"unknown user":         {"apc-rpdu", "3", map[string]string{"username": "nobody"}, "check username"},
		"wrong auth password":  {"apc-rpdu", "3", map[string]string{"auth_password": "wrongpass123"}, "check auth_password"},
		"wrong auth algorithm": {"apc-rpdu", "3", map[string]string{"auth_protocol": "SHA-256"}, ""},
		"may only read, v3":    {"apc-rpdu", "3", map[string]string{"username": "reader"}, "may only read"},
		"may only read, v2c":   {"apc-rpdu", "3", map[string]string{"version": "2c", "community": readCommunity}, "may only read"},
		"may only read, v1":    {"apc-rpdu", "3", map[string]string{"version": "1", "community": readCommunity}, "may only read"},
		"wrong model":          {"apc-rpdu2", "3", nil, "which is apc-rpdu of the known models, but apc-rpdu2 is configured"},
		"another vendor":       {"cyberpower-epdu", "3", nil, "wrong model"},
		"another PDU":          {"apc-rpdu", "3", map[string]string{"sysname": "pdu-b"}, `its sysName is "pdu-a", but "pdu-b" is configured`},
		"no such outlet":       {"apc-rpdu", "3,24", nil, "has no outlet 24"},
		"no such outlet, v1":   {"apc-rpdu", "3,24", map[string]string{"version": "1"}, "has no outlet 24"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fencing.Off(t.Context(), host(device(t, p, c.model, c.outlets, c.more)), patient(bound))
			if r.Outcome != fencing.Refused || !strings.Contains(r.Reason, c.want) || len(p.state().Sets) > 0 {
				t.Errorf("%s: %s; written: %+v", r.Outcome, r.Reason, p.state().Sets)
			}
		})
	}
	for name, more := range map[string]map[string]string{
		"wrong priv password": {"priv_password": "wrongpass123"},
		"wrong community":     {"version": "2c", "community": "guess"},
	} {
		t.Run(name, func(t *testing.T) { // net-snmp keeps silent about these
			more["timeout"] = "200ms"
			timing := patient(bound)
			timing.Contact = 2 * time.Second
			r := fencing.Off(t.Context(), host(device(t, p, "apc-rpdu", "3", more)), timing)
			if r.Outcome != fencing.Refused || len(p.state().Sets) > 0 {
				t.Errorf("%s: %s; written: %+v", r.Outcome, r.Reason, p.state().Sets)
			}
		})
	}
}

// TestCheckWarns about a community in clear text, and changes nothing.
func TestCheckWarns(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	for version, warnings := range map[string]int{"1": 2, "2c": 2, "3": 1} {
		more := map[string]string{}
		if version != "3" {
			more["version"] = version
		}
		d := device(t, p, "apc-rpdu", "3,5", more)
		r, err := d.Check(t.Context())
		if err = errors.Join(err, d.Close(t.Context())); err != nil || !r.Ready() || len(r.Warnings) != warnings {
			t.Errorf("version %s: %+v, %v", version, r, err)
		}
		if clear := strings.Contains(strings.Join(r.Warnings, " "), "clear text"); clear == (version == "3") {
			t.Errorf("version %s: %v", version, r.Warnings)
		}
	}
	d := device(t, p, "apc-rpdu", "3", map[string]string{"sysname": "pdu-a"})
	r, err := d.Check(t.Context())
	if err = errors.Join(err, d.Close(t.Context())); err != nil || len(r.Warnings) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if sets := p.state().Sets; len(sets) > 0 {
		t.Errorf("written: %+v", sets)
	}
}
