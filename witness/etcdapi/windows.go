package etcdapi

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// windows follows the flow control of a client's HTTP/2 connection from outside (RFC
// 9113, 5.2) and ends the connection when the client leaves a window closed for too
// long. The gRPC library itself would keep what such a client does not take: a unary
// call is over for it when its response waits for room, and the next one may come.
type windows struct {
	net.Conn
	patience time.Duration
	in, out  frames

	mu      sync.Mutex
	initial int64              // room of a new stream
	whole   window             // of the connection
	streams map[uint32]*window // that have not ended, as the client sees it
	last    uint32             // newest stream
	armed   bool
	closed  bool
	expired *time.Timer
}

// window is the room that the client has given and that is not used.
type window struct {
	room  int64
	since time.Time // when it was used up; zero if there is room
}

const initialWindow = 65535 // RFC 9113, 6.9.2

func newWindows(conn net.Conn, patience time.Duration) *windows {
	w := &windows{
		Conn: conn, patience: patience, in: frames{skip: len(http2.ClientPreface)},
		initial: initialWindow, whole: window{room: initialWindow}, streams: map[uint32]*window{},
	}
	w.expired = time.AfterFunc(patience, w.expire)
	w.expired.Stop()
	return w
}

func (w *windows) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	w.in.feed(p[:n], w.received)
	tooMany := len(w.streams) > 2*streamsPerConn // it was told the limit
	w.mu.Unlock()
	if tooMany {
		_ = w.Close()
	}
	return n, err
}

func (w *windows) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.out.feed(p, w.sent)
	w.mu.Unlock()
	_ = w.SetWriteDeadline(time.Now().Add(w.patience)) // a failure shows in the write
	return w.Conn.Write(p)
}

// Close implements net.Conn.
func (w *windows) Close() error {
	w.mu.Lock()
	w.closed = true // it may still be written to, or expire at this moment
	w.expired.Stop()
	w.mu.Unlock()
	return w.Conn.Close()
}

// received needs the lock.
func (w *windows) received(f *frames) {
	switch f.kind {
	case http2.FrameHeaders:
		if f.stream > w.last {
			w.last = f.stream
			w.streams[f.stream] = &window{room: w.initial}
		}
	case http2.FrameRSTStream:
		delete(w.streams, f.stream)
	case http2.FrameWindowUpdate:
		if len(f.payload) != 4 {
			return
		}
		more := int64(binary.BigEndian.Uint32(f.payload) &^ (1 << 31))
		if f.stream == 0 {
			w.change(&w.whole, more)
		} else if s := w.streams[f.stream]; s != nil {
			w.change(s, more)
		}
	case http2.FrameSettings:
		for b := f.payload; len(b) >= 6; b = b[6:] {
			if http2.SettingID(binary.BigEndian.Uint16(b)) == http2.SettingInitialWindowSize {
				more := int64(binary.BigEndian.Uint32(b[2:])) - w.initial
				w.initial += more
				for _, s := range w.streams {
					w.change(s, more)
				}
			}
		}
	}
}

// sent needs the lock.
func (w *windows) sent(f *frames) {
	if f.kind == http2.FrameData {
		w.change(&w.whole, -int64(f.size))
		if s := w.streams[f.stream]; s != nil {
			w.change(s, -int64(f.size))
		}
	}
	if f.kind == http2.FrameRSTStream || (f.kind == http2.FrameData || f.kind == http2.FrameHeaders) && f.flags.Has(http2.FlagDataEndStream) {
		delete(w.streams, f.stream)
	}
}

func (w *windows) change(s *window, by int64) {
	s.room += by
	switch {
	case s.room > 0:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = time.Now()
		if !w.armed && !w.closed {
			w.armed = true
			w.expired.Reset(w.patience)
		}
	}
}

// expire ends the connection if a window has been closed for too long while a stream
// may have something to send, or looks again later.
func (w *windows) expire() {
	w.mu.Lock()
	var oldest time.Time
	note := func(s *window) {
		if !s.since.IsZero() && (oldest.IsZero() || s.since.Before(oldest)) {
			oldest = s.since
		}
	}
	for _, s := range w.streams {
		note(s)
	}
	if len(w.streams) > 0 {
		note(&w.whole)
	}
	left := w.patience - time.Since(oldest)
	// A closed window of the connection is looked at again when there are streams.
	w.armed = !w.closed && (!oldest.IsZero() && left > 0 || oldest.IsZero() && !w.whole.since.IsZero())
	if w.armed {
		w.expired.Reset(max(left, w.patience/4))
	}
	w.mu.Unlock()
	if !oldest.IsZero() && left <= 0 {
		_ = w.Close()
	}
}

// frames cuts one direction of an HTTP/2 connection into frames.
type frames struct {
	skip int // bytes before the first frame

	head    [frameHeader]byte
	have    int // bytes of head
	rest    int // bytes of the payload that are still to come
	keep    bool
	payload []byte // of settings and window updates

	size   int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// feed calls whole for each frame that p completes. Frames of which the payload does
// not matter are complete with their header.
func (f *frames) feed(p []byte, whole func(*frames)) {
	n := min(f.skip, len(p))
	f.skip -= n
	for p = p[n:]; len(p) > 0; {
		if f.rest > 0 {
			n := min(f.rest, len(p))
			if f.keep {
				f.payload = append(f.payload, p[:n]...)
			}
			f.rest -= n
			p = p[n:]
			if f.keep && f.rest == 0 {
				whole(f)
			}
			continue
		}
		n := copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have < frameHeader {
			return
		}
		f.have = 0
		h := f.head
		f.size = int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		f.kind, f.flags, f.stream = http2.FrameType(h[3]), http2.Flags(h[4]), binary.BigEndian.Uint32(h[5:])&^(1<<31)
		f.rest, f.payload = f.size, f.payload[:0]
		// Longer ones are a fault, after which the server closes the connection.
		f.keep = (f.kind == http2.FrameSettings || f.kind == http2.FrameWindowUpdate) && f.size > 0 && f.size <= maxFrame
		if !f.keep {
			whole(f)
		}
	}
}
