package main

import (
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/witness/httpapi"
)

// watcher collects output and lets a test wait for a piece of it.
type watcher struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newWatcher() *watcher { return &watcher{more: make(chan struct{}, 1)} }

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// until waits for a piece of output.
func (w *watcher) until(t *testing.T, piece string) {
	t.Helper()
	limit := time.After(time.Minute)
	for !strings.Contains(w.String(), piece) {
		select {
		case <-w.more:
		case <-limit:
			t.Fatalf("no %q in:\n%s", piece, w.String())
		}
	}
}

// background runs a command until stop, which returns its exit code.
func background(t *testing.T, stdin io.Reader, out io.Writer, args ...string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- Run(ctx, args, stdin, out, out) }()
	return func() int {
		cancel()
		select {
		case code := <-done:
			return code
		case <-time.After(time.Minute):
			t.Fatal("the command does not end")
			return -1
		}
	}
}

func TestWatchPrintsEachChangeOnce(t *testing.T) {
	tr := newTrio(t)
	out := newWatcher()
	stop := background(t, strings.NewReader(""), out, "watch", "--interval", "100ms", "--server", tr.urls["UP"])
	out.until(t, "3 of 3 witnesses are alive")
	tr.event([]string{"w2", "dies"})
	out.until(t, "2 of 3 witnesses are alive")
	tr.event([]string{"pg1", "dies"})
	out.until(t, "lease-dead")
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(out.String(), "3 of 3 witnesses are alive"); n != 1 {
		t.Errorf("the first picture is there %d times:\n%s", n, out.String())
	}
}

// The stream goes on at the next witness where the first one left it.
func TestEventsFollowSurvivesAWitness(t *testing.T) {
	tr := newTrio(t)
	api := httpapi.New(httpapi.Options{Backend: tr.mem})
	first := httptest.NewServer(api)
	second := httptest.NewServer(api)
	defer second.Close()
	out := newWatcher()
	stop := background(t, strings.NewReader(""), out, "events", "--follow", "--since", "0", "-o", "json", "--server", first.URL+","+second.URL)
	out.until(t, `"kind":"granted"`)
	first.CloseClientConnections()
	first.Close()
	tr.event([]string{"pg1", "dies"})
	out.until(t, `"kind":"lease-dead"`)
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(out.String(), `"kind":"granted"`); n != 1 {
		t.Errorf("an event is there %d times:\n%s", n, out.String())
	}
}

func TestEventsFollowGivesUp(t *testing.T) {
	tr := newTrio(t)
	var out bytes.Buffer
	if code := Run(t.Context(), []string{"events", "--follow", "--server", tr.urls["DOWN"]}, strings.NewReader(""), io.Discard, &out); code != ExitError {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

// A request outlives the witness that took it.
func TestOrderSurvivesAWitness(t *testing.T) {
	tr := newTrio(t)
	api := httpapi.New(httpapi.Options{Backend: tr.mem})
	first := httptest.NewServer(api)
	second := httptest.NewServer(api)
	defer second.Close()
	out := newWatcher()
	changed := tr.mem.Changed()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(context.Background(), []string{
			"fence", "off", "db3", "--yes", "--by", "anna", "--reason", "smoke", "--server", first.URL + "," + second.URL,
		}, strings.NewReader(""), out, out)
	}()
	<-changed // the request is in the log
	first.CloseClientConnections()
	first.Close()
	tr.work()
	select {
	case code := <-ended:
		if code != 0 || !strings.Contains(out.String(), "done:") {
			t.Errorf("exit code %d: %s", code, out.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("the command does not end")
	}
	n := 0
	for range tr.mem.State().Requests() {
		n++
	}
	if n != 1 {
		t.Errorf("%d requests were made", n)
	}
}

func TestFrame(t *testing.T) {
	text := strings.Repeat("a long line\n", 3) + strings.Repeat("event\n", 20) + "the newest\n"
	got := frame(text, 6, 10, "12:00:00")
	lines := strings.Split(got, "\r\n")
	if len(lines) != 10 || lines[0] != home+"a lon…"+clearLine || !strings.HasPrefix(lines[8], "the n…") || !strings.HasSuffix(got, clearBelow) {
		t.Errorf("frame: %q", lines)
	}
}
