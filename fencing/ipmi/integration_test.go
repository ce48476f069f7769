//go:build integration

package ipmi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/ipmi"
)

// These tests run against ipmi_sim (Debian package openipmi), a BMC that is not ours, and let ipmitool look at it
// independently. The machine's power is a file, which the simulator's chassis control program keeps. Run them with
// go test -tags integration ./fencing/ipmi.

// simulator is a running ipmi_sim.
type simulator struct {
	port  string
	power string // file: 0 or 1
}

func startSimulator(t *testing.T) *simulator {
	t.Helper()
	dir := t.TempDir()
	reserved, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(reserved.LocalAddr().String())
	_ = reserved.Close()
	s := &simulator{port: port, power: filepath.Join(dir, "power")}

	// The protocol of the program: get power → "power:1"; set power 0.
	program := filepath.Join(dir, "chassis")
	write(t, program, 0o755, `#!/bin/sh
device=$1 what=$2
shift 2
while [ $# -gt 0 ]; do
	case "$what $1" in
	"get power") echo "power:$(cat `+s.power+`)"; shift ;;
	"set power") echo "$2" >`+s.power+`.new && mv `+s.power+`.new `+s.power+`; shift 2 ;;
	*) echo "unknown: $what $1"; exit 1 ;;
	esac
done
`)
	write(t, s.power, 0o644, "1\n")
	write(t, filepath.Join(dir, "lan.conf"), 0o644, fmt.Sprintf(`name "lab"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %s
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%s 0x20"
  user 1 false "" "test" user 10 none md2 md5 straight
  user 2 true "fence" "%s" operator 10 none md2 md5 straight
`, port, program, password))
	write(t, filepath.Join(dir, "cmd"), 0o644, "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n")
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ipmi_sim", "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "cmd"), "-s", state, "-n")
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "out"))
			t.Logf("ipmi_sim: %s", log)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.ipmitool(t, "chassis", "power", "status"); err == nil {
			return s
		} else if time.Now().After(end) {
			t.Fatalf("ipmi_sim does not answer: %v", err)
		}
	}
}

func write(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// ipmitool asks independently of our driver. The password goes by the environment.
func (s *simulator) ipmitool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args = append([]string{"-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", s.port, "-U", "fence", "-E", "-L", "OPERATOR", "-R", "1"}, args...)
	cmd := exec.CommandContext(ctx, "ipmitool", args...)
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+password)
	var faults strings.Builder
	cmd.Stderr = &faults // it warns there about what the simulator lacks
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s%s", err, out, faults.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// really is what the machine does: the file, and ipmitool's view of it.
func (s *simulator) really(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(s.power)
	if err != nil {
		t.Fatal(err)
	}
	file := map[string]string{"0": "off", "1": "on"}[strings.TrimSpace(string(raw))]
	said, err := s.ipmitool(t, "chassis", "power", "status")
	if err != nil || said != "Chassis Power is "+file {
		t.Errorf("the file says %q, ipmitool says %q (%v)", file, said, err)
	}
	return file
}

func (s *simulator) config() ipmi.Config {
	return ipmi.Config{Name: "sim", Address: "127.0.0.1:" + s.port, Username: "fence", Password: password}
}

// TestSimulator: off, already off, on, as ipmitool and the machine see it.
func TestSimulator(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	r := fencing.Off(t.Context(), host(open(t, s.config())), patient())
	if r.Outcome != fencing.Confirmed || s.really(t) != "off" {
		t.Fatalf("%s: %s", r.Outcome, r.Reason)
	}
	t.Logf("off: device %v, overhead %v, %s", r.Evidence.DeviceTime, r.Evidence.Overhead, r.Evidence.Devices[0].Identity)
	again := fencing.Off(t.Context(), host(open(t, s.config())), patient())
	if again.Outcome != fencing.Confirmed || len(again.Evidence.Devices[0].Steps) != 1 {
		t.Errorf("already off: %s, %+v", again.Outcome, again.Evidence.Devices[0].Steps)
	}
	on := fencing.On(t.Context(), host(open(t, s.config())), patient())
	if on.Outcome != fencing.Confirmed || s.really(t) != "on" {
		t.Errorf("%s: %s", on.Outcome, on.Reason)
	}
}

// TestSimulatorRefuses: a wrong password, and a BMC that is not there.
func TestSimulatorRefuses(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	wrong, gone := s.config(), s.config()
	wrong.Password, gone.Address = "wrong", "127.0.0.1:1"
	for name, c := range map[string]ipmi.Config{"wrong password": wrong, "no BMC": gone} {
		r := fencing.Off(t.Context(), host(open(t, c)), patient())
		if r.Outcome != fencing.Refused || s.really(t) != "on" {
			t.Errorf("%s: %s: %s", name, r.Outcome, r.Reason)
		}
	}
}

// TestSimulatorGUID: ipmitool's GUID, as it prints it, pins the machine.
func TestSimulatorGUID(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	out, err := s.ipmitool(t, "mc", "guid")
	if err != nil {
		t.Fatal(err)
	}
	_, guid, _ := strings.Cut(strings.SplitN(out, "\n", 2)[0], ":")
	right, wrong := s.config(), s.config()
	right.GUID, wrong.GUID = strings.TrimSpace(guid), strings.Repeat("ab", 16)
	if r := fencing.Off(t.Context(), host(open(t, wrong)), patient()); r.Outcome != fencing.Refused || s.really(t) != "on" {
		t.Errorf("wrong GUID: %s: %s", r.Outcome, r.Reason)
	}
	if r := fencing.Off(t.Context(), host(open(t, right)), patient()); r.Outcome != fencing.Confirmed || s.really(t) != "off" {
		t.Errorf("GUID %q: %s: %s", right.GUID, r.Outcome, r.Reason)
	}
}

// TestSimulatorAndAgent: Debian's fence_ipmilan, which runs ipmitool, and our driver read and switch the same machine, and
// agree. It prints what each needs; it asserts no time.
func TestSimulatorAndAgent(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	agent := func(action string) (string, int) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "fence_ipmilan")
		cmd.Stdin = strings.NewReader("ip=127.0.0.1\nipport=" + s.port + "\nusername=fence\npassword=" + password +
			"\nlanplus=1\ncipher=3\nprivlvl=operator\naction=" + action + "\n")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
			t.Fatalf("fence_ipmilan %s: %v: %s", action, err, out)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	c := s.config()
	c.CipherSuites = []int{3}
	started := time.Now()
	r := fencing.Off(t.Context(), host(open(t, c)), patient())
	ours := time.Since(started)
	if out, code := agent("status"); r.Outcome != fencing.Confirmed || code != 2 || s.really(t) != "off" {
		t.Errorf("ours %s, fence_ipmilan status: exit %d %s", r.Outcome, code, out)
	}
	if out, code := agent("on"); code != 0 || s.really(t) != "on" {
		t.Errorf("on: exit %d %s", code, out)
	}
	d := open(t, c)
	if reading, err := d.Read(t.Context()); err != nil || reading.State != fencing.PowerOn {
		t.Errorf("ours after its on: %+v, %v", reading, err)
	}
	_ = d.Close(t.Context())
	started = time.Now()
	if out, code := agent("off"); code != 0 || s.really(t) != "off" {
		t.Errorf("off: exit %d %s", code, out)
	}
	t.Logf("off: ours %v, fence_ipmilan %v", ours, time.Since(started))
}
