//go:build integration

package lab

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	short = 300 * time.Millisecond // within which a cut packet must not arrive
	long  = 30 * time.Second       // within which everything else must have happened
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New(t.Context(), Options{LogDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		if err := l.Cleanup(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

func host(t *testing.T, l *Lab, name, ip string) *Host {
	t.Helper()
	h, err := l.Host(t.Context(), name, ip)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// listen starts a TCP server in the host that greets everybody.
func listen(t *testing.T, h *Host) *Process {
	t.Helper()
	p, err := h.Start(Command{Name: "greeter", Argv: []string{"/usr/bin/python3", "-c", `
import socket
s = socket.create_server(("0.0.0.0", 7000))
while True:
    c, _ = s.accept()
    c.sendall(b"hello")
    c.close()
`}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func greets(ctx context.Context, from, to *Host, bound time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", net.JoinHostPort(to.IP(), "7000"))
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	b, _ := io.ReadAll(conn)
	return string(b) == "hello"
}

func mustGreet(t *testing.T, from, to *Host) {
	t.Helper()
	err := Until(t.Context(), long, from.Name()+" to reach "+to.Name(), func(ctx context.Context) error {
		if !greets(ctx, from, to, time.Second) {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHostsReachEachOtherUntilCut(t *testing.T) {
	l := newLab(t)
	a, b, c := host(t, l, "a", "10.77.0.1"), host(t, l, "b", "10.77.0.2"), host(t, l, "c", "10.77.0.3")
	for _, h := range []*Host{a, b, c} {
		listen(t, h)
	}
	mustGreet(t, a, b)
	mustGreet(t, c, b)

	if err := l.Cut(t.Context(), b, a); err != nil {
		t.Fatal(err)
	}
	if greets(t.Context(), a, b, short) || greets(t.Context(), b, a, short) {
		t.Error("a and b reach each other across the cut")
	}
	mustGreet(t, c, b)

	if err := l.Isolate(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if greets(t.Context(), c, b, short) || greets(t.Context(), b, c, short) {
		t.Error("c and b reach each other though b is isolated")
	}
	mustGreet(t, b, b) // it still runs

	if err := l.Heal(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	mustGreet(t, a, b)
	mustGreet(t, b, c)
}

func TestKillAllKillsOnlyThisHost(t *testing.T) {
	l := newLab(t)
	a, b := host(t, l, "a", "10.77.0.1"), host(t, l, "b", "10.77.0.2")
	dead, alive := listen(t, a), listen(t, b)
	mustGreet(t, b, a)
	// A grandchild in a session of its own must die too.
	daemon, err := a.Start(Command{Name: "daemon", Argv: []string{"sh", "-c", "setsid setsid sleep 1000 & exec sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Until(t.Context(), long, "both sleeps", func(context.Context) error {
		if pids, err := a.Pids(); err != nil || len(pids) < 3 {
			return os.ErrNotExist
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	if err := a.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Process{dead, daemon} {
		select {
		case <-p.Done():
		case <-time.After(long):
			t.Fatalf("pid %d outlived KillAll", p.PID)
		}
	}
	if pids, err := a.Pids(); err != nil || len(pids) != 0 {
		t.Errorf("processes left: %v, %v", pids, err)
	}
	select {
	case <-alive.Done():
		t.Error("KillAll of a killed a process of b")
	default:
	}
}

func TestExecTellsWhatFailed(t *testing.T) {
	l := newLab(t)
	a := host(t, l, "a", "10.77.0.1")
	out, err := a.Exec(t.Context(), Command{User: "daemon", Argv: []string{"id", "-un"}})
	if err != nil || strings.TrimSpace(out) != "daemon" {
		t.Errorf("id as daemon: %q, %v", out, err)
	}
	_, err = a.Exec(t.Context(), Command{Argv: []string{"sh", "-c", "echo broken >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("the error does not carry standard error: %v", err)
	}
}

// TestCrashedLab is the body of the process that TestLeftoversAreRemoved starts.
func TestCrashedLab(t *testing.T) {
	dir := os.Getenv("QUORATE_CRASHED_LAB")
	if dir == "" {
		t.Skip("only runs as the child of TestLeftoversAreRemoved")
	}
	l, err := New(t.Context(), Options{LogDir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	listen(t, host(t, l, "a", "10.77.0.1"))
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte(l.id), 0o644); err != nil {
		t.Fatal(err)
	}
	os.Exit(9) // no cleanup
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestCrashedLab$")
	child.Env = append(os.Environ(), "QUORATE_CRASHED_LAB="+dir)
	out, _ := child.CombinedOutput() // it exits with 9
	id, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		t.Fatalf("the child made no lab: %s", out)
	}
	living := newLab(t) // finds and removes the dead one
	host(t, living, "a", "10.77.0.1")
	newLab(t) // must not touch the living one

	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	has := func(id string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			return strings.HasPrefix(e.Name(), namespacePrefix+id+"-")
		})
	}
	if has(string(id)) {
		t.Error("a namespace of the crashed lab is left")
	}
	if !has(living.id) {
		t.Error("the namespaces of a living lab were removed")
	}
	if _, err := os.Stat(dataDirOf(string(id))); err == nil {
		t.Error("the data directory of the crashed lab is left")
	}
}

func TestBootedHostsHaveTheirOwnView(t *testing.T) {
	l := newLab(t)
	a, b := host(t, l, "a", "10.77.0.1"), host(t, l, "b", "10.77.0.2")
	for _, h := range []*Host{a, b} {
		if err := h.Boot(t.Context(), "mount -t tmpfs tmpfs /run; echo "+h.Name()+" >/run/who"); err != nil {
			t.Fatal(err)
		}
	}
	sh := func(h *Host, script string) string {
		t.Helper()
		out, err := h.Exec(t.Context(), Command{Argv: []string{"sh", "-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(out), " ")
	}
	for _, h := range []*Host{a, b} {
		if got, want := sh(h, "hostname; cat /run/who"), h.Name()+" "+h.Name(); got != want {
			t.Errorf("seen in %s: %q, want %q", h.Name(), got, want)
		}
		if got := sh(h, "cat /proc/1/comm"); got != "bash" {
			t.Errorf("process 1 of %s is %q", h.Name(), got)
		}
	}
	if _, err := os.Stat("/run/who"); err == nil {
		t.Error("a mount of a booted host is seen outside")
	}
	listen(t, a)
	mustGreet(t, b, a)

	if err := a.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := Until(t.Context(), long, "a to refuse commands", func(ctx context.Context) error {
		if _, err := a.Exec(ctx, Command{Argv: []string{"true"}}); err == nil {
			return os.ErrExist
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := a.Boot(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if got := sh(a, "hostname"); got != "a" {
		t.Errorf("after the second boot the host is named %q", got)
	}
	if err := b.Boot(t.Context(), "false"); err == nil {
		t.Error("a machine whose set-up fails was booted")
	}
}
