package etcdapi

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// opened is what a client sends first.
func opened(settings []http2.Setting, more func(*http2.Framer)) []byte {
	b := bytes.NewBufferString(http2.ClientPreface)
	f := http2.NewFramer(b, nil)
	if err := f.WriteSettings(settings...); err != nil {
		panic(err)
	}
	if more != nil {
		more(f)
	}
	return b.Bytes()
}

func headers(contentType string, flags http2.HeadersFrameParam) func(*http2.Framer) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":path", Value: "/x"},
		{Name: "content-type", Value: contentType},
	} {
		if err := e.WriteField(f); err != nil {
			panic(err)
		}
	}
	flags.StreamID, flags.BlockFragment = 1, b.Bytes()
	return func(f *http2.Framer) {
		_ = f.WriteWindowUpdate(0, 1000) // into a buffer
		_ = f.WriteHeaders(flags)
	}
}

func TestFirstBytesTellTheProtocol(t *testing.T) {
	noPush := []http2.Setting{{ID: http2.SettingEnablePush}}
	for _, c := range []struct {
		name  string
		first []byte
		want  protocol
	}{
		{"nothing", nil, undecided},
		{"HTTP/1", []byte("POST /v3/kv/range HTTP/1.1\r\n"), speaksHTTP},
		{"one letter that both begin with", []byte("P"), undecided},
		{"not HTTP", []byte{0x16, 3, 1}, speaksHTTP},
		{"part of the preface", []byte(http2.ClientPreface[:10]), undecided},
		{"grpc-go before it has our settings", opened(nil, nil), waitingGRPC},
		{"the same with options", opened([]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 20}}, nil), waitingGRPC},
		{"another client that waits", opened(noPush, nil), waiting},
		{"grpc-go that pings", opened(nil, func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{}) }), speaksGRPC},
		{"another that pings", opened(noPush, func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{}) }), speaksHTTP},
		{"gRPC", opened(noPush, headers("application/grpc", http2.HeadersFrameParam{EndHeaders: true})), speaksGRPC},
		{"gRPC with a codec", opened(nil, headers("application/grpc+proto", http2.HeadersFrameParam{EndHeaders: true})), speaksGRPC},
		{"gRPC, padded, with a priority", opened(nil, headers("application/grpc",
			http2.HeadersFrameParam{PadLength: 9, Priority: http2.PriorityParam{Weight: 1, StreamDep: 3}})), speaksGRPC},
		{"JSON", opened(noPush, headers("application/json", http2.HeadersFrameParam{EndHeaders: true})), speaksHTTP},
		{"JSON of a client with grpc-go's settings", opened(nil, headers("application/json", http2.HeadersFrameParam{EndHeaders: true})), speaksHTTP},
		{"no settings", append([]byte(http2.ClientPreface), 0, 0, 0, byte(http2.FramePing), 0, 0, 0, 0, 0), speaksHTTP},
		{"a frame that is too long", append(opened(nil, nil), 0xff, 0, 0, byte(http2.FrameHeaders), 0, 0, 0, 0, 1), speaksHTTP},
		{"HTTP/2 of another version", []byte("PRI * HTTP/2.1\r\n\r\n"), speaksHTTP},
	} {
		if got := classify(c.first); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		// What comes in pieces must not tell anything else meanwhile.
		for n := range c.first {
			if got := classify(c.first[:n]); got != undecided && got != waiting && got != waitingGRPC && got != c.want {
				t.Errorf("%s: %d after %d bytes", c.name, got, n)
			}
		}
	}
}

func FuzzFirstBytes(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add(opened(nil, headers("application/grpc", http2.HeadersFrameParam{PadLength: 3, Priority: http2.PriorityParam{Weight: 1}})))
	f.Fuzz(func(t *testing.T, first []byte) {
		whole := classify(first)
		for n := range first {
			// A verdict is final.
			if got := classify(first[:n]); (got == speaksGRPC || got == speaksHTTP) && got != whole {
				t.Fatalf("%d after %d bytes, %d after all %d", got, n, whole, len(first))
			}
		}
	})
}
