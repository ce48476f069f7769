package etcdapi_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// jsonWatch is a watch as Patroni reads it: a chunked body of JSON objects.
type jsonWatch struct {
	*testing.T
	body io.ReadCloser
	dec  *json.Decoder
}

func (s *server) watch(body string) *jsonWatch {
	s.Helper()
	// Closed by the test's end at the latest, so that a bug cannot hang it.
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	res, err := client.Post("http://"+s.addr+"/v3/watch", "application/json", strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
		s.Fatalf("watch: %d, transfer encoding %v (Patroni needs chunked)", res.StatusCode, res.TransferEncoding)
	}
	return &jsonWatch{s.T, res.Body, json.NewDecoder(res.Body)}
}

func (w *jsonWatch) next() object {
	w.Helper()
	var o struct{ Result, Error object }
	if err := w.dec.Decode(&o); err != nil {
		w.Fatalf("watch: %v", err)
	}
	if o.Error != nil {
		w.Fatalf("watch: %v", o.Error)
	}
	return o.Result
}

func (w *jsonWatch) wantBroken() {
	w.Helper()
	var o object
	if err := w.dec.Decode(&o); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		w.Fatalf("watch goes on or ends in order: %v %v", o, err)
	}
}

func (w *jsonWatch) wantEnd() {
	w.Helper()
	var o object
	if err := w.dec.Decode(&o); !errors.Is(err, io.EOF) {
		w.Fatalf("watch goes on: %v %v", o, err)
	}
}

// events shows a message as type:key for each event.
func (w *jsonWatch) events(o object) string {
	w.Helper()
	list, _ := o["events"].([]any)
	var out []string
	for _, e := range list {
		ev := e.(object)
		typ, _ := ev["type"].(string)
		out = append(out, typ+":"+ev["kv"].(object)["key"].(string)+"@"+ev["kv"].(object)["mod_revision"].(string))
	}
	return strings.Join(out, " ")
}

// Patroni starts its watch at the revision of its range, and gets that revision's
// events once more.
func TestJSONWatch(t *testing.T) {
	s := start(t)
	s.post("/v3/kv/put", `{"key":"YQ==","value":"MQ=="}`)
	w := s.watch(`{"create_request":{"key":"YQ==","range_end":"Yg==","start_revision":"2","filters":[]}}`)
	if o := w.next(); o["created"] != true || o["header"].(object)["revision"] != "2" {
		t.Fatalf("first message %v", o)
	}
	if got := w.events(w.next()); got != ":YQ==@2" {
		t.Fatal(got)
	}
	s.post("/v3/kv/put", `{"key":"enp6","value":"MQ=="}`) // another key
	s.post("/v3/kv/txn", `{"success":[{"request_put":{"key":"YWE="}},{"request_delete_range":{"key":"YQ=="}}]}`)
	if got := w.events(w.next()); got != ":YWE=@4 DELETE:YQ==@4" {
		t.Fatalf("%s (all events of a revision belong in one message)", got)
	}
}

// Patroni 3.0.2 ignores a cancelled watch and would keep a stale cache for ever.
func TestJSONWatchEndsWhenCancelled(t *testing.T) {
	s := start(t)
	for range 4 {
		s.post("/v3/kv/put", `{"key":"YQ==","value":"MQ=="}`)
	}
	s.post("/v3/kv/compaction", `{"revision":"4"}`)
	w := s.watch(`{"create_request":{"key":"YQ==","start_revision":"2"}}`)
	if o := w.next(); o["created"] != true {
		t.Fatal(o)
	}
	if o := w.next(); o["canceled"] != true || o["compact_revision"] != "4" {
		t.Fatal(o)
	}
	w.wantEnd()

	w = s.watch(`{"create_request":{"key":"Yg==","range_end":"YQ=="}}`)
	if o := w.next(); o["canceled"] != true || o["cancel_reason"] != "mvcc: watcher range is empty" {
		t.Fatal(o)
	}
	w.wantEnd()

	// Another watch in the same request does not keep the stream open.
	w = s.watch(`{"create_request":{"key":"Yg=="}}` + "\n" + `{"create_request":{"key":"YQ==","start_revision":"2"}}`)
	for o := w.next(); o["canceled"] != true; o = w.next() {
		if o["created"] != true {
			t.Fatal(o)
		}
	}
	w.wantEnd()
}
