package node

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// A write that takes as long as an election looks like one from outside. The log says
// what it was, and not more than once in ten seconds.
func TestSlowDiskIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		l := newLab(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }, "a", "b", "c")
		lead, named := l.leader(), func() int { return log.count("the disk is slow") }
		disk := l.disks[lead.opts.Name].log
		slowPut := func(d time.Duration) {
			t.Helper()
			disk.stall()
			go func() {
				time.Sleep(d)
				disk.thaw()
			}()
			put(t, lead.Node, "/k", "v")
		}
		slowPut(lead.opts.ElectionTimeout / 2)
		time.Sleep(time.Minute)
		if named() != 0 {
			t.Error("a write of half an election timeout was called slow")
		}
		for range 3 {
			slowPut(lead.opts.ElectionTimeout + 100*time.Millisecond)
		}
		time.Sleep(time.Second)
		if got := named(); got != 1 {
			t.Errorf("three slow writes within seconds gave %d lines", got)
		}
		time.Sleep(time.Minute)
		if got := named(); got != 2 {
			t.Errorf("a minute later there are %d lines; the ones that were held back are one more", got)
		}
	})
}
