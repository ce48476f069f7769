package etcdapi

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// peers are a client and a server of HTTP/2 on both ends of a pipe; the server's end is
// looked at. What either of them sends is read at once.
func peers(t *testing.T) (client, server *http2.Framer, w *windows) {
	a, b := net.Pipe()
	w = newWindows(b, time.Minute)
	for _, end := range []net.Conn{a, w} {
		go func() { _, _ = io.Copy(io.Discard, end) }()
	}
	t.Cleanup(func() { _, _ = a.Close(), w.Close() })
	if _, err := io.WriteString(a, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	client, server = http2.NewFramer(a, nil), http2.NewFramer(w, nil)
	must(t, client.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
	must(t, server.WriteSettings())
	return client, server, w
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func request(t *testing.T, client *http2.Framer, id uint32) {
	t.Helper()
	must(t, client.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x82}, EndHeaders: true, EndStream: true}))
	synctest.Wait() // the pipe took it; nobody answers before it was looked at, too
}

func TestClosedWindows(t *testing.T) {
	data := make([]byte, 1000)
	end := http2.HeadersFrameParam{BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true}
	for _, c := range []struct {
		name string
		say  func(client, server *http2.Framer)
		dies bool
	}{
		{"nothing is closed", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, false, data[:999]))
		}, false},
		{"a stream", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, false, data))
		}, true},
		{"a stream that is opened again in time", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, false, data))
			time.Sleep(59 * time.Second)
			must(t, client.WriteWindowUpdate(1, 1))
		}, false},
		{"a stream, by new settings", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, false, data[:500]), client.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 500}))
		}, true},
		{"a stream that has ended", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, true, data))
		}, false},
		{"a stream that has ended behind its data", func(client, server *http2.Framer) {
			request(t, client, 1)
			end.StreamID = 1
			must(t, server.WriteData(1, false, data), server.WriteHeaders(end))
		}, false},
		{"a stream that the client has given up", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, server.WriteData(1, false, data), client.WriteRSTStream(1, http2.ErrCodeCancel))
		}, false},
		{"the connection, with a stream", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, client.WriteWindowUpdate(1, 1<<20), server.WriteData(1, false, make([]byte, initialWindow)))
		}, true},
		{"the connection, with a stream later", func(client, server *http2.Framer) {
			request(t, client, 1)
			must(t, client.WriteWindowUpdate(1, 1<<20), server.WriteData(1, true, make([]byte, initialWindow)))
			time.Sleep(10 * time.Minute)
			request(t, client, 3)
		}, true},
		{"more streams than were permitted", func(client, server *http2.Framer) {
			for i := range uint32(2*streamsPerConn + 1) {
				request(t, client, 2*i+1)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server, _ := peers(t)
				c.say(client, server)
				time.Sleep(3 * time.Minute)
				if err := server.WritePing(false, [8]byte{}); (err != nil) != c.dies {
					t.Errorf("after three minutes a write says %v", err)
				}
			})
		})
	}
}

// What is still written to a closed connection starts nothing anew.
func TestNothingIsWatchedAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, w := peers(t)
		request(t, client, 1)
		must(t, w.Close())
		_ = server.WriteData(1, true, make([]byte, initialWindow)) // fails
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.armed {
			t.Error("the timer of a closed connection goes on for ever")
		}
	})
}

func TestFramesInPieces(t *testing.T) {
	stream := opened([]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 7}}, func(f *http2.Framer) {
		must(t, f.WriteWindowUpdate(3, 9), f.WriteData(3, true, make([]byte, 300)), f.WritePing(true, [8]byte{}), f.WriteSettingsAck())
	})
	cut := func(size int) (seen []string) {
		f := frames{skip: len(http2.ClientPreface)}
		for b := stream; len(b) > 0; b = b[min(size, len(b)):] {
			f.feed(b[:min(size, len(b))], func(f *frames) {
				seen = append(seen, string(bytes.Join([][]byte{f.head[:], f.payload}, nil)))
			})
		}
		return seen
	}
	whole := cut(len(stream))
	if len(whole) != 5 || whole[1][9:] != "\x00\x00\x00\x09" {
		t.Fatalf("%q", whole)
	}
	for size := 1; size < len(stream); size++ {
		got := cut(size)
		if len(got) != len(whole) {
			t.Fatalf("in pieces of %d: %q", size, got)
		}
		for i := range got {
			if got[i] != whole[i] {
				t.Fatalf("in pieces of %d: %q, want %q", size, got[i], whole[i])
			}
		}
	}
}
