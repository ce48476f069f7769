package etcdapi_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// header is that of the in-memory backend; revision 0 means none.
func header(rev int) string {
	if rev == 0 {
		return `"header":{"cluster_id":"1","member_id":"7","raft_term":"1"}`
	}
	return fmt.Sprintf(`"header":{"cluster_id":"1","member_id":"7","revision":"%d","raft_term":"1"}`, rev)
}

// Patroni sends the two bytes {} with its GET and parses the versions as integers
// between dots.
func TestVersionOnAGetWithABody(t *testing.T) {
	s := start(t)
	for range 2 { // twice on one connection: the body must have been read
		req, _ := http.NewRequest(http.MethodGet, "http://"+s.addr+"/version", strings.NewReader("{}"))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != `{"etcdserver":"3.6.0","etcdcluster":"3.6.0","storage":"3.6.0"}` {
			t.Fatalf("%s", b)
		}
	}
}

// The life of a Patroni cluster in the words that 3.0.2 and 4.x put on the wire.
func TestPatroniConversation(t *testing.T) {
	s := start(t)
	leader, pg1, pg2 := b64("/service/demo/leader"), b64("pg1"), b64("pg2")
	s.want("/v3/cluster/member/list", `{}`, 200, `{`+header(0)+`,"members":[{"ID":"7","name":"w1","clientURLs":["http://`+s.addr+`"]}]}`)
	s.want("/v3/lease/grant", `{"TTL":30,"ID":"11"}`, 200, `{`+header(1)+`,"ID":"11","TTL":"30"}`)
	s.want("/v3/lease/grant", `{"TTL":"30","ID":12}`, 200, `{`+header(1)+`,"ID":"12","TTL":"30"}`)
	s.want("/v3/lease/keepalive", `{"ID":"11"}`, 200, `{"result":{`+header(1)+`,"ID":"11","TTL":"30"}}`)

	// 3.0.2 sends the number 0, 4.x the string "0".
	create := func(zero, value string, lease int) string {
		return fmt.Sprintf(`{"compare":[{"target":"CREATE","create_revision":%s,"key":"%s"}],"success":[{"request_put":{"key":"%s","value":"%s","lease":"%d"}}]}`,
			zero, leader, leader, value, lease)
	}
	s.want("/v3/kv/txn", create(`0`, pg1, 11), 200, `{`+header(2)+`,"succeeded":true,"responses":[{"response_put":{"header":{"revision":"2"}}}]}`)
	s.want("/v3/kv/txn", create(`"0"`, pg2, 12), 200, `{`+header(2)+`}`)
	s.want("/v3/kv/range", `{"key":"`+b64("/service/demo/")+`","range_end":"`+b64("/service/demo0")+`","serializable":true}`, 200,
		`{`+header(2)+`,"kvs":[{"key":"`+leader+`","create_revision":"2","mod_revision":"2","version":"1","value":"`+pg1+`","lease":"11"}],"count":"1"}`)
	s.want("/v3/kv/range", `{"key":"`+b64("/nothing")+`","serializable":true}`, 200, `{`+header(2)+`}`)
	s.want("/v3/kv/put", `{"key":"`+b64("/service/demo/members/pg1")+`","value":"e30=","lease":11}`, 200, `{`+header(3)+`}`)
	// Compare-and-set of the configuration.
	s.want("/v3/kv/txn", `{"compare":[{"target":"MOD","mod_revision":"99","key":"`+leader+`"}],"success":[{"request_delete_range":{"key":"`+leader+`"}}]}`, 200, `{`+header(3)+`}`)
	// Re-attaching of 4.x after a lease change, with the nested transaction.
	s.want("/v3/kv/txn", fmt.Sprintf(`{"compare":[{"target":"VALUE","value":"%s","key":"%s"}],"success":[{"request_put":{"key":"%s","value":"%s","lease":"12"}}],`+
		`"failure":[{"request_txn":{"compare":[{"target":"CREATE","create_revision":"0","key":"%s"}],"success":[{"request_put":{"key":"%s","value":"%s","lease":"12"}}]}}]}`,
		pg2, leader, leader, pg2, leader, leader, pg2), 200, `{`+header(3)+`,"responses":[{"response_txn":{"header":{}}}]}`)
	s.want("/v3/kv/txn", `{"compare":[{"target":"VALUE","value":"`+pg1+`","key":"`+leader+`"}],"success":[{"request_delete_range":{"key":"`+leader+`"}}]}`, 200,
		`{`+header(4)+`,"succeeded":true,"responses":[{"response_delete_range":{"header":{"revision":"4"},"deleted":"1"}}]}`)
	s.want("/v3/kv/deleterange", `{"key":"`+b64("/service/")+`","range_end":"`+b64("/service0")+`"}`, 200, `{`+header(5)+`,"deleted":"1"}`)
}

// "TTL":"0" is true in Python: a lease that is gone must have no TTL at all.
func TestGoneLeases(t *testing.T) {
	s := start(t)
	s.want("/v3/lease/keepalive", `{"ID":"99"}`, 200, `{"result":{`+header(1)+`,"ID":"99"}}`)
	s.want("/v3/lease/timetolive", `{"ID":"99"}`, 200, `{`+header(1)+`,"ID":"99","TTL":"-1"}`)
	notFound := `{"code":5,"message":"etcdserver: requested lease not found","error":"etcdserver: requested lease not found"}`
	s.want("/v3/lease/revoke", `{"ID":"99"}`, 404, notFound)
	s.want("/v3/kv/put", `{"key":"YQ==","value":"YQ==","lease":"99"}`, 404, notFound)
}

// See leases.renew for why JSON clients get an error here, and in this form.
func TestDeadLeaseThatWaitsForAFence(t *testing.T) {
	s := start(t)
	s.post("/v3/lease/grant", `{"TTL":30,"ID":"11"}`)
	s.post("/v3/kv/put", `{"key":"YQ==","value":"YQ==","lease":"11"}`)
	s.b.kill(t, 11)
	s.want("/v3/lease/keepalive", `{"ID":"11"}`, 404, `{"error":{"code":5,"grpc_code":5,"http_code":404,"message":"etcdserver: requested lease not found"}}`)
	s.want("/v3/lease/timetolive", `{"ID":"11"}`, 200, `{`+header(2)+`,"ID":"11","TTL":"-1"}`)
	s.want("/v3/lease/leases", `{}`, 200, `{`+header(2)+`}`)
	const msg = "quorate: the lease has ended, its keys wait until its holder is proven off"
	s.want("/v3/kv/put", `{"key":"Yg==","lease":"11"}`, 400, fmt.Sprintf(`{"code":3,"message":%q,"error":%q}`, msg, msg))
	if s.b.Store().Get("a") == nil {
		t.Fatal("the key is gone")
	}
}

func TestGuardedPut(t *testing.T) {
	s := start(t)
	key := "/service/demo/leader"
	s.b.guarded.Store(&key)
	msg := "quorate: the leader key is guarded: pg1 is being fenced"
	s.want("/v3/kv/put", `{"key":"`+b64(key)+`","value":"YQ=="}`, 400, fmt.Sprintf(`{"code":9,"message":%q,"error":%q}`, msg, msg))
}

func TestErrors(t *testing.T) {
	s := start(t)
	s.post("/v3/kv/put", `{"key":"YQ==","value":"YQ=="}`)
	s.post("/v3/kv/put", `{"key":"YQ==","value":"Yg=="}`)
	s.want("/v3/kv/compaction", `{"revision":"3"}`, 200, `{`+header(3)+`}`)
	put := `{"request_put":{"key":"YQ=="}}`
	for _, c := range []struct {
		path, body string
		status     int
		code       float64
		message    string
	}{
		{"/v3/auth/authenticate", `{"name":"a","password":"b"}`, 400, 9, "etcdserver: authentication is not enabled"},
		{"/v3/kv/put", `{"value":"YQ=="}`, 400, 3, "etcdserver: key is not provided"},
		{"/v3/kv/range", `{}`, 400, 3, "etcdserver: key is not provided"},
		{"/v3/kv/range", `{"key":"YQ==","revision":"9"}`, 400, 11, "etcdserver: mvcc: required revision is a future revision"},
		{"/v3/kv/range", `{"key":"YQ==","revision":"2"}`, 400, 11, "etcdserver: mvcc: required revision has been compacted"},
		{"/v3/kv/compaction", `{"revision":"3"}`, 400, 11, "etcdserver: mvcc: required revision has been compacted"},
		{"/v3/kv/txn", `{"success":[` + put + `,` + put + `]}`, 400, 3, "etcdserver: duplicate key given in txn request"},
		{"/v3/kv/txn", `{"success":[` + strings.Repeat(put+`,`, 128) + put + `]}`, 400, 3, "etcdserver: too many operations in txn request"},
		{"/v3/kv/txn", `{"success":[{}]}`, 400, 3, "etcdserver: key not found"},
		{"/v3/kv/put", `{"key":"YQ==","value":"` + strings.Repeat("AAAA", 540<<10) + `"}`, 400, 3, "etcdserver: request is too large"},
		{"/v3/lease/grant", `{"TTL":"9000000001"}`, 400, 11, "etcdserver: too large lease TTL"},
		{"/v3/nothing", `{}`, 404, 5, "Not Found"},
		{"/v3/kv/put", `{"key":`, 400, 3, ""},
		{"/v3/kv/put", `{"key":"YQ==","value":"` + strings.Repeat("AAAA", 1<<20) + `"}`, 400, 3, ""},
		{"/v3/maintenance/snapshot", `{}`, 501, 12, ""},
	} {
		status, o := s.post(c.path, c.body)
		if e, ok := o["error"].(object); ok {
			o = e
		}
		if status != c.status || o["code"] != c.code || c.message != "" && (o["message"] != c.message || o["error"] != c.message) {
			t.Errorf("%s %.60s: %d %v", c.path, c.body, status, o)
		}
	}
	// Unknown fields and camel case are accepted.
	s.want("/v3/kv/range", `{"key":"YQ==","rangeEnd":"Yg==","countOnly":true,"nonsense":1}`, 200, `{`+header(3)+`,"count":"1"}`)
}

func TestHealth(t *testing.T) {
	s := start(t)
	get := func(path string) string {
		res, err := http.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return fmt.Sprintf("%d %s", res.StatusCode, bytes.TrimSpace(b))
	}
	healthy, sick := `200 {"health":"true","reason":""}`, `503 {"health":"false","reason":"RAFT NO LEADER"}`
	if a, b, c := get("/health"), get("/livez"), get("/readyz"); a != healthy || b != "200 ok" || c != "200 ok" {
		t.Fatal(a, b, c)
	}
	s.b.leaderless.Store(true)
	if a, b, c, d := get("/health"), get("/livez"), get("/readyz"), get("/health?serializable=true"); a != sick || b != "200 ok" || c[:3] != "503" || d != healthy {
		t.Fatal(a, b, c, d)
	}
}

// A node without a leader breaks the connection of JSON clients, whatever they ask:
// Patroni goes to another node for that and for nothing else.
func TestLeaderlessNodeAborts(t *testing.T) {
	s := start(t, timeout(300*time.Millisecond))
	watch := s.watch(`{"create_request":{"key":"YQ=="}}`)
	watch.next()
	s.b.leaderless.Store(true)
	watch.wantBroken()
	for _, c := range [][2]string{
		{"/v3/kv/range", `{"key":"YQ==","serializable":true}`},
		{"/v3/kv/put", `{"key":"YQ=="}`},
		{"/v3/lease/keepalive", `{"ID":"1"}`},
		{"/v3/watch", `{"create_request":{"key":"YQ=="}}`},
	} {
		res, err := http.Post("http://"+s.addr+c[0], "application/json", strings.NewReader(c[1]))
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: answered with %d", c[0], res.StatusCode)
		} else if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", c[0], err)
		}
	}
	if n := s.b.txns.Load(); n != 0 {
		t.Errorf("%d writes were tried without a leader", n)
	}
	s.b.leaderless.Store(false)
	s.want("/v3/kv/put", `{"key":"YQ=="}`, 200, `{`+header(2)+`}`)
	// A leader that comes back within the limit costs nothing but time.
	again := s.watch(`{"create_request":{"key":"YQ==","start_revision":2}}`)
	again.next()
	again.next()
}

// A write whose fate is unknown breaks the connection too, and is not repeated.
func TestStuckWriteAborts(t *testing.T) {
	s := start(t, timeout(300*time.Millisecond))
	s.b.stuck.Store(true)
	res, err := http.Post("http://"+s.addr+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"YQ=="}`))
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("answered with %d", res.StatusCode)
	}
	if n := s.b.txns.Load(); n != 1 {
		t.Fatalf("tried %d times", n)
	}
}
