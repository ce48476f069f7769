//go:build integration

package fencing

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// witness is one real witnessd, and witnessctl beside it.
type witness struct {
	t      *testing.T
	ctl    string
	folder string
	http   string
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{t: t, folder: t.TempDir(), ctl: build(t, "witnessctl"), http: freeTCP(t)}
	daemon := build(t, "witnessd")
	peer := freeTCP(t)
	config := fmt.Sprintf("node: w1\nsite: north\ndata: %s\npeers: {w1: %q}\npeer: {listen: %q}\nhttp: {listen: %q}\n",
		filepath.Join(w.folder, "data"), peer, peer, w.http)
	file := filepath.Join(w.folder, "w1.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(w.folder, "w1.log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, daemon, "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("witnessd:\n%s", text)
		}
	})
	return w
}

// build builds a command of this module; Go's cache makes the second time cheap.
func build(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(root(t), "out", "lab", "bin", name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/"+name)
	cmd.Dir, cmd.Env = root(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return binary
}

func freeTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run calls witnessctl, and returns its exit code and all that it printed.
func (w *witness) run(args ...string) (int, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.ctl, append([]string{"--server", "http://" + w.http}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		w.t.Fatalf("witnessctl %v: %v\n%s", args, err, out.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (w *witness) apply(manifest string) (int, string) {
	w.t.Helper()
	file := filepath.Join(w.folder, "cluster.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.run("apply", "-f", file, "--by", "anna", "--reason", "test")
}

// TestWitnessFencesByPDU goes the whole way: a declared host with feeds on two PDUs, checked, powered off by an order, proven
// in the log outlet by outlet without a secret, held off, and powered on by another order.
func TestWitnessFencesByPDU(t *testing.T) {
	a, b := startPDU(t, "apc-rpdu2", 300*time.Millisecond), startPDU(t, "raritan-px2", 300*time.Millisecond)
	w := startWitness(t)
	manifest := func(outlets, more string) string {
		login := fmt.Sprintf("username: %s, auth_password: %s, priv_password: %s", userName, authPassword, privPassword)
		return fmt.Sprintf(`devices:
- {name: feed-a, driver: pdu, settings: {address: %q, model: apc-rpdu2, outlets: %q, %s%s}}
- {name: feed-b, driver: pdu, settings: {address: %q, model: raritan-px2, outlets: "4", %s}}
hosts:
- {name: db1, addresses: [10.9.9.1], fence: [{level: 1, device: feed-a}, {level: 1, device: feed-b}]}
`, a.address(), outlets, login, more, b.address(), login)
	}
	for end := time.Now().Add(bound); ; time.Sleep(50 * time.Millisecond) { // until it leads
		code, out := w.apply(manifest("3,5", ""))
		if code == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("apply: exit %d\n%s", code, out)
		}
	}
	code, out := w.apply(manifest("3,3", ", colour: blue"))
	if code == 0 || !strings.Contains(out, "colour: no such setting") || !strings.Contains(out, "3 is listed twice") {
		t.Errorf("faulty settings: exit %d\n%s", code, out)
	}
	if code, out := w.run("fence", "test", "db1"); code != 0 {
		t.Errorf("fence test: exit %d\n%s", code, out)
	}
	if code, out := w.run("fence", "off", "db1", "--by", "anna", "--reason", "integration test", "--yes"); code != 0 {
		t.Fatalf("fence off: exit %d\n%s", code, out)
	}
	if a.on("3") || a.on("5") || b.on("1.4") {
		t.Errorf("feeds are %s and %s", a.really("3", "5"), b.really("1.4"))
	}
	code, out = w.run("fence", "history", "-o", "json")
	for _, want := range []string{"feeds-off", "outlet 3", "outlet 5", "outlet 4", "integration test"} {
		if !strings.Contains(out, want) {
			t.Errorf("the history (exit %d) does not say %q:\n%s", code, want, out)
		}
	}
	if strings.Contains(out, authPassword) || strings.Contains(out, privPassword) {
		t.Error("the history shows a password")
	}
	if code, out := w.run("fence", "on", "db1", "--by", "anna", "--reason", "done"); code != 0 || !a.on("3") || !a.on("5") || !b.on("1.4") {
		t.Errorf("fence on: exit %d; feeds are %s and %s\n%s", code, a.really("3", "5"), b.really("1.4"), out)
	}
}
