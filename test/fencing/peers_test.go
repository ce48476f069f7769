//go:build integration

package fencing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/test/snmppdu"
)

// agent runs one of Debian's fence agents against a PDU, and returns its exit code and what it says.
func agent(t testing.TB, p *pdu, program string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"-a", "127.0.0.1", "-u", fmt.Sprint(p.port)}, args...)...)
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+filepath.Join(p.folder, "agent"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, lastLine(out)
	case errors.As(err, &exit) && ctx.Err() == nil:
		return exit.ExitCode(), lastLine(out)
	default:
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		return 0, ""
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

var (
	byCommunity = []string{"-d", "2c", "-c", writeCommunity}
	byUser      = []string{
		"--snmp-version=3", "--snmp-sec-level=authPriv", "--snmp-auth-prot=SHA", "--snmp-priv-prot=AES",
		"--username=" + userName, "--password=" + authPassword, "--snmp-priv-passwd=" + privPassword,
	}
)

// TestAgentsAgree: on one outlet, Debian's agents are oracles. What they switch off we read off, and the other way round:
// so our table agrees with theirs for every device that they know.
func TestAgentsAgree(t *testing.T) {
	for _, c := range []struct{ profile, ours, state, program, theirs string }{
		{"apc-rpdu", "3", "3", "fence_apc_snmp", "3"},
		{"apc-msp", "1.3", "1.1.3", "fence_apc_snmp", "1:3"},
		{"tripplite", "3", "1.3", "fence_apc_snmp", "3"},
		{"eaton-revelation", "3", "3", "fence_eaton_snmp", "4"}, // the agent counts from 1, the table from 0
		{"eaton-pulizzi", "3", "3", "fence_eaton_snmp", "3"},
		{"vertiv-mph", "1.1.3", "1.1.3", "fence_emerson", "1.1.3"},
		{"ibm-ipdu", "3", "3", "fence_ipdu", "3"},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			p := startPDU(t, c.profile, 0)
			d := device(t, p, c.profile, c.ours, nil)
			args := append([]string{"-n", c.theirs, "--power-wait=0"}, byCommunity...)
			if code, says := agent(t, p, c.program, append(args, "-o", "off")...); code != 0 || p.on(c.state) {
				t.Fatalf("the agent's off: exit %d, %q, outlet on: %v", code, says, p.on(c.state))
			}
			if r := fencing.Off(t.Context(), host(d), patient(bound)); r.Outcome != fencing.Confirmed || len(r.Evidence.Devices[0].Steps) != 1 {
				t.Errorf("it is off by the agent, but we say %s: %s", r.Outcome, r.Reason)
			}
			if r := fencing.On(t.Context(), host(d), patient(bound)); r.Outcome != fencing.Confirmed || !p.on(c.state) {
				t.Errorf("our on: %s: %s", r.Outcome, r.Reason)
			}
			if code, says := agent(t, p, c.program, append(args, "-o", "status")...); code != 0 || !strings.Contains(says, "ON") {
				t.Errorf("it is on by us, but the agent says %d %q", code, says)
			}
			if r := fencing.Off(t.Context(), host(d), patient(bound)); r.Outcome != fencing.Confirmed || p.on(c.state) {
				t.Errorf("our off: %s: %s", r.Outcome, r.Reason)
			}
			if code, says := agent(t, p, c.program, append(args, "-o", "status")...); code != 2 || !strings.Contains(says, "OFF") {
				t.Errorf("it is off by us, but the agent says %d %q", code, says)
			}
		})
	}
}

// TestWhatEachSays puts ours beside Debian's fence_apc_snmp, with two feeds and with PDUs that misbehave, and writes down
// what each says and what the outlets are. Ours may never claim a success that is none; what the agent says is a finding and
// not an assertion.
func TestWhatEachSays(t *testing.T) {
	faults := func(f ...snmppdu.Fault) []snmppdu.Fault { return f }
	for _, c := range []struct {
		name, profile, outlets string
		bad                    string
		faults                 []snmppdu.Fault
		want                   fencing.Outcome
	}{
		{"one outlet", "apc-rpdu", "5", "", nil, fencing.Confirmed},
		{"two outlets", "apc-rpdu", "3,5", "", nil, fencing.Confirmed},
		{"two other outlets", "apc-rpdu", "1,2", "", nil, fencing.Confirmed},
		{"accepted without effect", "apc-rpdu", "5", "", faults(snmppdu.Lie), fencing.Unknown},
		{"refused", "apc-rpdu", "5", "5", faults(snmppdu.LockedBad), fencing.Refused},
		{"no effect, and the outlet leaves the table", "apc-rpdu", "5", "5", faults(snmppdu.Lie, snmppdu.Vanish), fencing.Unknown},
		{"no effect, and a number that the MIB does not have", "apc-rpdu", "5", "", faults(snmppdu.Lie, snmppdu.OddWord), fencing.Unknown},
		{"off, and a command waits to switch it on", "apc-rpdu", "5", "", faults(snmppdu.Waiting), fencing.Unknown},
		{"the PDU is of another vendor", "cyberpower-epdu", "5", "", nil, fencing.Refused},
	} {
		for login, args := range map[string][]string{"v2c": byCommunity, "v3": byUser} {
			more := map[string]string{}
			if login == "v2c" {
				more["version"] = "2c"
			}
			t.Run(c.name+"/"+login, func(t *testing.T) {
				t.Parallel()
				theirs, ours := startPDU(t, c.profile, 0), startPDU(t, c.profile, 0)
				for _, p := range []*pdu{theirs, ours} {
					p.configure(snmppdu.Settings{Delay: 200 * time.Millisecond, Faults: c.faults, Bad: c.bad})
				}
				code, says := agent(t, theirs, "fence_apc_snmp", append([]string{"-n", c.outlets, "-o", "off", "--power-timeout=3"}, args...)...)
				limit := bound
				if c.want != fencing.Confirmed {
					limit = 10 * time.Second
				}
				r := fencing.Off(t.Context(), host(device(t, ours, "apc-rpdu", c.outlets, more)), patient(limit))
				names := strings.Split(c.outlets, ",")
				t.Logf("| %s, %s | exit %d, %s | %s | %s | %s |", c.name, login, code, says, theirs.really(names...), r.Outcome, ours.really(names...))
				if r.Outcome != c.want {
					t.Errorf("%s: %s", r.Outcome, r.Reason)
				}
				for _, o := range names {
					if r.Outcome == fencing.Confirmed && ours.on(o) {
						t.Errorf("a false success: %s", ours.really(names...))
					}
				}
			})
		}
	}
}
