package agent_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/agent"
)

const password = "s3cret/of the=agent"

// TestMain lets many tests wait at the same time: they wait for agents that hang.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" { // there it is the number of processes
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// script makes a fence agent of a shell script and returns its directory. The script finds the options in variables such as
// $action, and the folder of the machines' states in $dir.
func script(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	text := `#!/bin/sh
dir=` + dir + `
while IFS='=' read -r name value; do
	case $name in
	action) action=$value ;;
	plug) plug=$value ;;
	password) password=$value ;;
	esac
done
echo "$action $plug" >>"$dir/calls"
` + body
	// A shell that another test starts may hold the new file open for writing for a moment, and then it cannot be run.
	path := filepath.Join(dir, "fence_test")
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return dir
}

// honest keeps the state of each plug in a file.
const honest = `
state=$(cat "$dir/state$plug" 2>/dev/null || echo on)
case $action in
status) echo "Status: $state"; [ "$state" = on ] && exit 0; exit 2 ;;
off | on) echo $action >"$dir/state$plug"; exit 0 ;;
metadata) echo '<resource-agent name="fence_test"><parameters><parameter name="password"/></parameters></resource-agent>'; exit 0 ;;
esac
exit 1
`

func open(t *testing.T, c agent.Config) *agent.Device {
	t.Helper()
	if c.Agent == "" {
		c.Agent = "fence_test"
	}
	if c.Options == nil {
		c.Options = map[string]string{"password": password}
	}
	d, err := agent.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func host(d fencing.Device) fencing.Host {
	return fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}
}

// config is patient: these agents are shells, which take their time on a loaded machine.
func config(dir string, plugs ...string) agent.Config {
	return agent.Config{Directory: dir, Plugs: plugs, StatusTimeout: 30 * time.Second, AttemptTimeout: time.Minute}
}

// impatient is for agents that never come round.
func impatient(dir string) agent.Config {
	return agent.Config{Directory: dir, StatusTimeout: 10 * time.Second, CallTimeout: time.Second, AttemptTimeout: 8 * time.Second}
}

func TestOff(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		script  string
		config  func(dir string) agent.Config
		outcome fencing.Outcome
		reason  string
		state   string // of the only plug afterwards
	}{
		"honest":    {script: honest, config: func(dir string) agent.Config { return config(dir) }, outcome: fencing.Confirmed, state: "off"},
		"two plugs": {script: honest, config: func(dir string) agent.Config { return config(dir, "3", "5") }, outcome: fencing.Confirmed},
		"fails but acts": {
			script: strings.Replace(honest, `>"$dir/state$plug"; exit 0`, `>"$dir/state$plug"; exit 1`, 1),
			config: func(dir string) agent.Config { return config(dir) }, outcome: fencing.Confirmed, state: "off",
		},
		"says success and does nothing": {
			script: strings.Replace(honest, `echo $action >"$dir/state$plug"`, `echo Success: Powered OFF`, 1),
			config: impatient, outcome: fencing.Unknown, reason: "last state on",
		},
		"not reached":             {script: `echo "Unable to connect/login to fencing device"; exit 1`, config: impatient, outcome: fencing.Refused, reason: "Unable to connect"},
		"odd exit code":           {script: `exit 7`, config: impatient, outcome: fencing.Unknown, reason: "exit 7"},
		"code and words disagree": {script: `[ $action = status ] && echo "Status: ON" && exit 2; exit 0`, config: impatient, outcome: fencing.Unknown, reason: "Status: ON"},
		"hangs in status": {
			script: `sleep 600`,
			config: func(dir string) agent.Config { c := impatient(dir); c.StatusTimeout = time.Second; return c }, outcome: fencing.Refused, reason: "1s",
		},
		"hangs in off": {
			script: strings.Replace(honest, "off | on)", "off) sleep 600 ;;\non)", 1),
			config: impatient, outcome: fencing.Unknown, reason: "last state on",
		},
		"hangs after it has acted": {
			script: strings.Replace(honest, `>"$dir/state$plug"; exit 0`, `>"$dir/state$plug"; sleep 600`, 1),
			config: func(dir string) agent.Config { c := config(dir); c.CallTimeout = time.Second; return c }, outcome: fencing.Confirmed, state: "off",
		},
		"dies by a signal": {script: `kill -9 $$`, config: impatient, outcome: fencing.Refused, reason: "signal"},
		"floods its output": {
			script: strings.Replace(honest, "status)", "status) head -c 3000000 /dev/zero | tr '\\0' 'x'; echo;", 1),
			config: func(dir string) agent.Config { return config(dir) }, outcome: fencing.Confirmed, state: "off",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := script(t, c.script)
			r := fencing.Off(context.Background(), host(open(t, c.config(dir))), fencing.Timing{Operation: 2 * time.Minute})
			if r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Fatalf("%s, want %s with %q: %s", r.Outcome, c.outcome, c.reason, r.Reason)
			}
			if got := read(t, dir, "state"); c.state != "" && got != c.state {
				t.Errorf("the machine is %q, want %q", got, c.state)
			}
			if data, err := json.Marshal(r); err != nil || strings.Contains(string(data), password) || len(data) > fencing.MaxEvidenceBytes {
				t.Errorf("%v, %d bytes: %.300s", err, len(data), data)
			}
		})
	}
}

func read(t *testing.T, dir, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// TestPlugs: each plug has calls of its own, and one that stays on keeps the host running, whatever the agent says.
func TestPlugs(t *testing.T) {
	t.Parallel()
	for _, parallel := range []bool{false, true} {
		t.Run(fmt.Sprintf("parallel=%t", parallel), func(t *testing.T) {
			t.Parallel()
			dir := script(t, strings.Replace(honest, "off | on)", `off) [ $plug = 5 ] && echo "Success: Powered OFF" && exit 0
	echo off >"$dir/state$plug"; exit 0 ;;
on)`, 1))
			c := config(dir, "3", "5")
			c.Parallel, c.AttemptTimeout = &parallel, 8*time.Second
			r := fencing.Off(context.Background(), host(open(t, c)), fencing.Timing{})
			if r.Outcome != fencing.Unknown || read(t, dir, "state3") != "off" {
				t.Fatalf("%s: %s", r.Outcome, r.Reason)
			}
			for line := range strings.Lines(read(t, dir, "calls")) {
				if fields := strings.Fields(line); len(fields) != 2 || (fields[1] != "3" && fields[1] != "5") {
					t.Errorf("a call for something else than one plug: %q", line)
				}
			}
		})
	}
}

// TestSecrets: an agent that prints what it was given prints no secret into the evidence, and nothing of it is in the
// arguments or the environment.
func TestSecrets(t *testing.T) {
	t.Setenv("NOT_FOR_AGENTS", "x")
	dir := script(t, `tr '\0' ' ' </proc/$$/cmdline >"$dir/cmdline"; env >"$dir/env"; echo "login with $password"; exit 1`)
	d := open(t, config(dir))
	_, err := d.Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "login with ********") || strings.Contains(err.Error(), password) {
		t.Errorf("%v", err)
	}
	if line, env := read(t, dir, "cmdline"), read(t, dir, "env"); line == "" || strings.Contains(line+env, password) || strings.Contains(env, "NOT_FOR") {
		t.Errorf("arguments %q, environment %q", line, env)
	}
}

// TestProcessGroup: when an agent's time is over, what it has started is killed as well.
func TestProcessGroup(t *testing.T) {
	t.Parallel()
	dir := script(t, `sleep 600 & echo $! >"$dir/child"; wait`)
	c := config(dir)
	c.StatusTimeout = 8 * time.Second // long enough for the child to be there on a loaded machine
	if _, err := open(t, c).Read(t.Context()); err == nil {
		t.Fatal("it answered")
	}
	var child int
	if _, err := fmt.Sscan(read(t, dir, "child"), &child); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); syscall.Kill(child, 0) == nil && !zombie(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the agent's child runs on")
		}
	}
}

// zombie: dead, but its new parent does not reap.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	c := config(script(t, honest))
	c.Options = map[string]string{"password": password, "ipadr": "misspelt"}
	ready, err := open(t, c).Check(t.Context())
	if err != nil || !ready.Ready() || ready.Reading.State != fencing.PowerOn {
		t.Fatalf("%+v, %v", ready, err)
	}
	for _, want := range []string{"ipadr", "unassessed"} {
		if !strings.Contains(strings.Join(ready.Warnings, "\n"), want) {
			t.Errorf("no warning about %s: %q", want, ready.Warnings)
		}
	}
}

func TestNotRun(t *testing.T) {
	t.Parallel()
	missing := open(t, config(t.TempDir()))
	if r := fencing.Off(context.Background(), host(missing), fencing.Timing{}); r.Outcome != fencing.Refused || !strings.Contains(r.Reason, "not installed") {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	dir := script(t, honest)
	if err := os.Chmod(filepath.Join(dir, "fence_test"), 0o777); err != nil {
		t.Fatal(err)
	}
	r := fencing.Off(context.Background(), host(open(t, config(dir))), fencing.Timing{})
	if r.Outcome != fencing.Refused || !strings.Contains(r.Reason, "chmod o-w") || read(t, dir, "calls") != "" {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	_, err := agent.Open(map[string]string{
		"agent": "fence_ipmilan", "plug": "1,1", "proves": "hope", "parallel": "maybe", "status_timeout": "0s", "ip": "10.0.0.1",
		"option.action": "reboot", "option.method": "cycle", "option.delay": "5", "option.debug_file": "/tmp/x",
		"option.password": "a\naction=on", "option.password_script": "/tmp/evil",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"plug: ", "proves: ", "parallel: ", "status_timeout: ", "written option.ip", "option.action ", "option.method=cycle",
		"option.delay ", "option.debug_file ", "option.password has more", "option.password_script ",
	} {
		if !strings.Contains(err.Error(), "agent: "+want) && !strings.Contains(err.Error(), want) {
			t.Errorf("no fault %q: %v", want, err)
		}
	}
	for _, name := range []string{"../../bin/sh", "fence_scsi", "fence_ack_manual", "sh", ""} {
		if _, err := agent.Open(map[string]string{"agent": name}); err == nil {
			t.Errorf("agent %q accepted", name)
		}
	}
	if _, err := agent.Open(map[string]string{"agent": "fence_ipmilan", "option.ip": "10.0.0.1", "option.method": "onoff"}); err != nil {
		t.Error(err)
	}
}

// TestBrokenAgentIsNotOff: shells and Python leave with 2, the code for off, when a script is cut off, a file is missing or
// an argument is wrong. What they print then says nothing of off.
func TestBrokenAgentIsNotOff(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"cut off":      "if true; then\n",
		"unset option": `: "${login:?no login}"`,
		"file missing": `echo "/usr/bin/python3: can't open file '/usr/share/fence/fence_x': [Errno 2] No such file or directory" >&2; exit 2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := open(t, config(script(t, body))).Read(t.Context())
			if err == nil && r.State != fencing.PowerUnknown {
				t.Errorf("%s: %s", r.State, r.Raw)
			}
		})
	}
	r, err := open(t, config(script(t, "exit 2"))).Read(t.Context())
	if err != nil || r.State != fencing.PowerOff {
		t.Errorf("an agent that says nothing but its code: %+v, %v", r, err)
	}
}
