package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// TestSplitAnywhere reads all vectors, one byte at a time and cut at every byte.
func TestSplitAnywhere(t *testing.T) {
	var stream []byte
	for _, raw := range golden(t) {
		stream = append(stream, raw...)
	}
	for cut := 0; cut <= len(stream); cut++ {
		in := io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:]))
		count(t, in, len(golden(t)))
	}
	count(t, iotest.OneByteReader(bytes.NewReader(stream)), len(golden(t)))
}

func count(t *testing.T, in io.Reader, want int) {
	t.Helper()
	r := NewReader(in, MaxMessage)
	for n := 0; ; n++ {
		f, err := r.Next()
		if err == io.EOF && n == want {
			return
		}
		if err != nil {
			t.Fatalf("frame %d of %d: %v", n, want, err)
		}
		if _, err := Decode(f); err != nil {
			t.Fatalf("frame %d: %v", n, err)
		}
	}
}

func TestTruncatedAnywhere(t *testing.T) {
	for name, raw := range golden(t) {
		for cut := 1; cut < len(raw); cut++ {
			if _, err := NewReader(bytes.NewReader(raw[:cut]), MaxMessage).Next(); err != io.ErrUnexpectedEOF {
				t.Fatalf("%s cut at %d: %v", name, cut, err)
			}
		}
	}
}

// TestNotOneByteMore: what follows STARTTLS belongs to TLS.
func TestNotOneByteMore(t *testing.T) {
	raw, err := Append(nil, StartTLS{Seq: 2})
	if err != nil {
		t.Fatal(err)
	}
	in := strings.NewReader(string(raw) + "\x16\x03\x01")
	if _, err := NewReader(in, MaxMessage).Next(); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "\x16\x03\x01" {
		t.Errorf("left for TLS: %x", rest)
	}
}

func frame(t Type, length int) []byte {
	out := make([]byte, HeaderSize+length)
	binary.BigEndian.PutUint16(out, uint16(t))
	binary.BigEndian.PutUint32(out[2:], uint32(length))
	return out
}

func TestLimit(t *testing.T) {
	r := NewReader(bytes.NewReader(frame(TypeNodeList, MaxMessage-HeaderSize)), MaxMessage)
	if f, err := r.Next(); err != nil || len(f.Body) != MaxMessage-HeaderSize {
		t.Errorf("a message of %d bytes: %v", MaxMessage, err)
	}

	echo, _ := Append(nil, NewEchoRequest(1))
	var stream []byte
	stream = append(stream, frame(TypeNodeList, MaxMessage-HeaderSize+1)...)
	stream = append(stream, frame(4711, 10)...)
	stream = append(stream, echo...)
	r = NewReader(bytes.NewReader(stream), MaxMessage)
	var long *TooLongError
	if _, err := r.Next(); !errors.As(err, &long) || long.Length != MaxMessage+1 {
		t.Errorf("a message of %d bytes: %v", MaxMessage+1, err)
	}
	var unknown *UnsupportedError
	if _, err := r.Next(); !errors.As(err, &unknown) || unknown.Type != 4711 {
		t.Errorf("an unknown type: %v", err)
	}
	if err := r.Skip(); err != nil {
		t.Error(err)
	}
	if f, err := r.Next(); err != nil || f.Type != TypeEchoRequest {
		t.Errorf("what follows: %v, %v", f.Type, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// TestAnnouncedIsNotReserved: a thousand peers that announce the largest message
// and send one byte of it cost what they sent.
func TestAnnouncedIsNotReserved(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		head := frame(TypeNodeList, MaxMessage-HeaderSize)[:HeaderSize+1]
		if _, err := NewReader(bytes.NewReader(head), MaxMessage).Next(); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// 32 MiB are the test's own frames; another 32 MiB would be the reader's.
	if got := after.TotalAlloc - before.TotalAlloc; got > 40<<20 {
		t.Errorf("%d bytes allocated", got)
	}
}
