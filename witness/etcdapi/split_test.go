package etcdapi_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"quorate/witness/etcdapi"
)

// begin sends the first bytes of an HTTP/2 client; without a content type it sends no
// request.
func begin(t *testing.T, conn net.Conn, settings []http2.Setting, path, contentType string) *http2.Framer {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err := io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	if err == nil {
		err = f.WriteSettings(settings...)
	}
	if err == nil && contentType != "" {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for _, h := range [][2]string{
			{":method", "POST"},
			{":scheme", "http"},
			{":authority", "x"},
			{":path", path},
			{"content-type", contentType},
			{"te", "trailers"},
		} {
			_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // into a buffer
		}
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// gRPC clients get the gRPC library's own server, in plain text and in TLS, whether
// they wait for the server's settings or not; all others get the HTTP server.
func TestWhoGetsWhichServer(t *testing.T) {
	cert, pool := selfSigned(t)
	noPush := []http2.Setting{{ID: http2.SettingEnablePush}}
	for name, conf := range map[string]*tls.Config{"plain": nil, "TLS": {Certificates: []tls.Certificate{cert}}} {
		s := start(t, withTLS(conf))
		for _, c := range []struct {
			name        string
			settings    []http2.Setting
			contentType string
			grpc        bool
		}{
			{"grpc-go", nil, "", true},
			{"gRPC at once", noPush, "application/grpc", true},
			{"JSON", noPush, "application/json", false},
			{"JSON with few settings", nil, "application/json", false},
			{"silent", noPush, "", false},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				conn := s.connect()
				if conf != nil {
					conn = tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"h2"}})
				}
				frame, err := begin(t, conn, c.settings, "/etcdserverpb.Maintenance/Status", c.contentType).ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				// The bound of headers tells the servers apart.
				limit, _ := frame.(*http2.SettingsFrame).Value(http2.SettingMaxHeaderListSize)
				if (limit == 64<<10) != c.grpc {
					t.Errorf("headers are bounded by %d", limit)
				}
			})
		}
	}
}

// A JSON client that speaks nothing but HTTP/2 shows its certificate too.
func TestJSONOverHTTP2AloneInTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	s := start(t, withTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP2(true)
	if body, major := s.jsonOver("https://"+s.addr, tr); major != 2 || !strings.Contains(body, `"raft_term"`) {
		t.Fatal(major, body)
	}
}

// Whoever connects and says nothing, or not enough, is not kept for ever.
func TestSilentConnectionsAreClosed(t *testing.T) {
	cert, _ := selfSigned(t)
	for name, conf := range map[string]*tls.Config{"plain": nil, "TLS": {Certificates: []tls.Certificate{cert}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, withTLS(conf))
			var conns []net.Conn
			for _, words := range []string{"", "P", http2.ClientPreface[:20], http2.ClientPreface + "\x00\x00", "GET / HTTP/1.1\r\n"} {
				conn := s.connect()
				if _, err := io.WriteString(conn, words); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			for _, conn := range conns {
				wantClosed(t, conn)
			}
			eventually(t, "they are not counted", func() bool { return len(s.srv.Sessions()) == 0 })
		})
	}
}

// A stop does not wait for connections that have not said what they want.
func TestStopWithSilentConnections(t *testing.T) {
	s := start(t)
	conn := s.connect()
	eventually(t, "it is counted", func() bool { return len(s.srv.Sessions()) == 1 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, conn)
}

func TestClearTextOnATLSPortIsExplained(t *testing.T) {
	cert, _ := selfSigned(t)
	s := start(t, withTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	conn := s.connect()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "HTTP request to an HTTPS server") {
		t.Fatalf("%q %v", b, err)
	}
}

// A client that asks and does not take the answer is dropped as well.
func TestLargeAnswersMustBeTaken(t *testing.T) {
	s := start(t, limits(etcdapi.Limits{Patience: 300 * time.Millisecond}))
	c := s.client()
	if _, err := c.Put(ctxOf(t), "a", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn := s.connect()
	f := begin(t, conn, nil, "/etcdserverpb.KV/Range", "application/grpc")
	if err := f.WriteData(1, true, []byte("\x00\x00\x00\x00\x03\x0a\x01a")); err != nil { // RangeRequest{Key: "a"}
		t.Fatal(err)
	}
	wantClosed(t, conn) // Go's client library takes everything: this one gives no window
	s.post("/v3/kv/range", `{"key":"YQ=="}`)
}
