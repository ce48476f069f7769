package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pty opens a pseudo terminal: what is written to keys arrives at tty, and what
// is written to tty can be read from keys.
func pty(t *testing.T) (keys, tty *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close(); _ = keys.Close() })
	return keys, tty
}

func TestWatchOnAScreenEndsAtQ(t *testing.T) {
	tr := newTrio(t)
	keys, tty := pty(t)
	screen := newWatcher()
	go func() { _, _ = io.Copy(screen, keys) }()
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() { done <- Run(t.Context(), []string{"watch", "--server", tr.urls["UP"]}, tty, tty, tty) }()
	screen.until(t, enterScreen)
	screen.until(t, "witnesses are alive")
	if _, err := io.WriteString(keys, "q"); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	screen.until(t, leaveScreen)
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Errorf("the terminal was %+v and is %+v", before, after)
	}
}

func TestFenceOffAsksForTheName(t *testing.T) {
	for typed, code := range map[string]int{"db3\n": ExitOK, "db1\n": ExitError, "\n": ExitError, "yes\n": ExitError} {
		t.Run(strings.TrimSpace(typed), func(t *testing.T) {
			tr := newTrio(t)
			keys, tty := pty(t)
			out := newWatcher()
			got := make(chan int, 1)
			go tr.while(func() {
				got <- Run(t.Context(), []string{"fence", "off", "db3", "--by", "anna", "--reason", "smoke", "--server", tr.urls["UP"]}, tty, out, out)
			})
			out.until(t, "it runs pg3 of cluster demo.\nType the name of the host to go on: ")
			if _, err := io.WriteString(keys, typed); err != nil {
				t.Fatal(err)
			}
			if c := <-got; c != code {
				t.Errorf("exit code %d, want %d: %s", c, code, out.String())
			}
			if fenced := tr.mem.State().Host("db3").Fenced; fenced != (code == ExitOK) {
				t.Errorf("db3 fenced: %v", fenced)
			}
		})
	}
}
