package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// follow opens an event stream over a real connection.
func follow(t *testing.T, url string, header ...string) (next func() *witness.Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || ct != "text/event-stream" {
		t.Fatalf("%s: %d %s", url, res.StatusCode, ct)
	}
	lines := bufio.NewScanner(res.Body)
	next = func() *witness.Event {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var ev witness.Event
				if err := json.Unmarshal([]byte(data), &ev); err != nil {
					t.Fatal(err)
				}
				return &ev
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return nil
	}
	return next, func() { cancel(); _ = res.Body.Close() }
}

func TestEventStream(t *testing.T) {
	d := newDemo(t)
	srv := httptest.NewServer(d.api)
	defer srv.Close()
	last := d.mem.State().LastEvent()

	next, stop := follow(t, srv.URL+"/v1/events?follow=1&since=0")
	for seq := uint64(1); seq <= last; seq++ {
		if ev := next(); ev.Seq != seq {
			t.Errorf("event %d in place %d", ev.Seq, seq)
		}
	}
	d.loseHolder() // while the stream is open
	if ev := next(); ev.Kind != "lease-dead" || ev.Seq != last+1 {
		t.Errorf("got %+v", ev)
	}
	stop()

	next, stop = follow(t, srv.URL+"/v1/events/stream", "Last-Event-ID", fmt.Sprint(last))
	defer stop()
	if ev := next(); ev.Seq != last+1 {
		t.Errorf("after the last id: %+v", ev)
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	d := newDemo(t)
	srv := httptest.NewServer(d.api)
	defer srv.Close()
	var stops []func()
	for range 256 {
		_, stop := follow(t, srv.URL+"/v1/events/stream")
		stops = append(stops, stop)
	}
	got := want[httpapi.Error](d, http.StatusTooManyRequests, "GET", "/v1/events/stream", "")
	if got.Code != witness.CodeExhausted {
		t.Errorf("got %+v", got)
	}
	for _, stop := range stops {
		stop()
	}
	want[struct{}](d, http.StatusOK, "GET", "/v1/events", "") // a list needs no place
}

func TestEventList(t *testing.T) {
	d := newDemo(t)
	for i := range 2100 { // more than are kept
		d.apply(witness.Observe{Witness: "w1", Items: []witness.Observation{{Host: "db3", Kind: witness.SignalReach, Down: i%2 == 0, Detail: "x"}}})
	}
	type list struct {
		Last   uint64
		Gap    bool
		Events []witness.Event
	}
	last := d.mem.State().LastEvent()
	for _, tc := range []struct {
		query string
		n     int
		first uint64
		gap   bool
	}{
		{"", 100, last - 99, false},
		{"?since=-3", 3, last - 2, false},
		{fmt.Sprintf("?since=%d", last-7), 7, last - 6, false},
		{fmt.Sprintf("?since=%d", last), 0, 0, false},
		{"?since=5&limit=10", 10, last - 1999, true},
		{"?since=-99999999", 1000, last - 1999, false},
	} {
		got := call[list](d, "/v1/events"+tc.query)
		if got.Last != last || got.Gap != tc.gap || len(got.Events) != tc.n || tc.n > 0 && got.Events[0].Seq != tc.first {
			t.Errorf("%q: last %d, gap %v, %d events", tc.query, got.Last, got.Gap, len(got.Events))
		}
	}
}
