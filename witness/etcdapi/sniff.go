package etcdapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// openingTime is what a client has for a TLS handshake and the first bytes, which
	// tell its protocol; a silent connection is closed then.
	openingTime = 5 * time.Second
	// openingBytes bounds the first bytes: a preface, the largest frame that a server
	// takes by default (RFC 9113, 4.2), and small ones before it.
	openingBytes = 24 << 10
	maxFrame     = 16 << 10

	// Some clients send nothing more than their settings before they have ours. After
	// waitGRPC a client that looks like grpc-go, which does so, gets the gRPC server;
	// after waitOther any other gets the HTTP server, which can serve both.
	waitGRPC  = 5 * time.Millisecond
	waitOther = 100 * time.Millisecond
)

// protocol is what a connection speaks, as far as its first bytes tell.
type protocol int

const (
	undecided   protocol = iota // more bytes are needed
	waitingGRPC                 // the client may wait for our settings, as grpc-go does
	waiting                     // the client may wait for our settings
	speaksHTTP                  // for the HTTP server
	speaksGRPC                  // for the gRPC server
)

// classify looks at the first bytes of a connection.
func classify(b []byte) protocol {
	n := min(len(b), len(http2.ClientPreface))
	if string(b[:n]) != http2.ClientPreface[:n] {
		return speaksHTTP // version 1, or not HTTP at all
	}
	if b = b[n:]; n < len(http2.ClientPreface) {
		return undecided
	}
	quiet := undecided
	for first := true; len(b) > 0; first = false {
		if len(b) < frameHeader {
			return undecided
		}
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		kind, flags := http2.FrameType(b[3]), http2.Flags(b[4])
		if size > maxFrame || first != (kind == http2.FrameSettings) {
			return speaksHTTP // its server knows the right error
		}
		if len(b) < frameHeader+size {
			return undecided
		}
		payload := b[frameHeader : frameHeader+size]
		b = b[frameHeader+size:]
		switch kind {
		case http2.FrameSettings:
			quiet = waiting
			if likeGRPC(payload) {
				quiet = waitingGRPC
			}
		case http2.FrameHeaders:
			if strings.HasPrefix(contentType(payload, flags), "application/grpc") {
				return speaksGRPC
			}
			return speaksHTTP
		case http2.FramePing, http2.FrameGoAway, http2.FrameData, http2.FrameRSTStream:
			if quiet == waitingGRPC {
				return speaksGRPC
			}
			return speaksHTTP
		}
	}
	return quiet
}

// frameHeader is the length of the header of a frame (RFC 9113, 4.1).
const frameHeader = 9

// likeGRPC says whether settings are those of grpc-go. Browsers, curl, and Go's own
// HTTP client say more, first of all that they want no pushed responses.
func likeGRPC(settings []byte) bool {
	if len(settings)%6 != 0 {
		return false
	}
	for s := range slices.Chunk(settings, 6) {
		switch http2.SettingID(binary.BigEndian.Uint16(s)) {
		case http2.SettingInitialWindowSize, http2.SettingMaxHeaderListSize:
		default:
			return false
		}
	}
	return true
}

// contentType finds the content type in a HEADERS frame, or returns "".
func contentType(payload []byte, flags http2.Flags) string {
	if flags.Has(http2.FlagHeadersPadded) {
		if len(payload) == 0 || len(payload) <= int(payload[0]) {
			return ""
		}
		payload = payload[1 : len(payload)-int(payload[0])]
	}
	if flags.Has(http2.FlagHeadersPriority) {
		if len(payload) < 5 {
			return ""
		}
		payload = payload[5:]
	}
	var found string
	d := hpack.NewDecoder(4<<10, func(f hpack.HeaderField) {
		if f.Name == "content-type" {
			found = f.Value
		}
	})
	d.SetMaxStringLength(maxFrame)
	_, _ = d.Write(payload) // what was read before a fault, or before a continuation, counts
	return found
}

// opening reads the first bytes of a connection until they tell its protocol, and
// returns both. The deadline for reading is taken back.
func opening(conn net.Conn) (protocol, []byte, error) {
	end := time.Now().Add(openingTime)
	var head []byte
	var patience time.Time // until when a client that waits for us may go on speaking
	buf := make([]byte, 1<<10)
	for {
		verdict := classify(head)
		until := end
		switch verdict {
		case speaksHTTP, speaksGRPC:
			return verdict, head, conn.SetReadDeadline(time.Time{})
		case waiting, waitingGRPC:
			if patience.IsZero() {
				patience = time.Now().Add(waitOther)
				if verdict == waitingGRPC {
					patience = time.Now().Add(waitGRPC)
				}
			}
			until = patience
		}
		if len(head) >= openingBytes {
			return speaksHTTP, head, conn.SetReadDeadline(time.Time{})
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return undecided, nil, err
		}
		n, err := conn.Read(buf[:min(len(buf), openingBytes-len(head))])
		head = append(head, buf[:n]...)
		if n > 0 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && verdict != undecided {
			if verdict == waitingGRPC {
				verdict = speaksGRPC
			} else {
				verdict = speaksHTTP
			}
			return verdict, head, conn.SetReadDeadline(time.Time{})
		}
		if err != nil {
			return undecided, nil, err
		}
	}
}

// replayed is a connection of which the first bytes have been looked at.
type replayed struct {
	net.Conn
	head *bytes.Reader
}

func (r *replayed) Read(p []byte) (int, error) {
	if r.head != nil {
		if r.head.Len() > 0 {
			return r.head.Read(p)
		}
		r.head = nil
	}
	return r.Conn.Read(p)
}
