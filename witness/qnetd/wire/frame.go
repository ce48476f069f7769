package wire

import (
	"encoding/binary"
	"io"
)

// chunk is how much a reader reserves ahead of what has arrived, so that a peer
// that announces much and sends nothing costs nothing. The real server reads in
// the same pieces.
const chunk = 1024

// Reader reads frames off a connection. It reads exactly the bytes of a frame
// and never one more, so that the connection can be handed to TLS after
// [StartTLS]. It is used by one goroutine.
type Reader struct {
	r     io.Reader
	limit int
	skip  uint64 // bytes of a refused frame that are still to come
}

// NewReader reads from r frames of at most limit bytes, header included.
func NewReader(r io.Reader, limit int) *Reader { return &Reader{r: r, limit: limit} }

// SetLimit changes the limit from the next frame on.
func (r *Reader) SetLimit(limit int) { r.limit = limit }

// Next reads the next frame. Its body is the caller's. A frame that is refused
// for its header gives [*TooLongError] or [*UnsupportedError]; the next call, or
// [Reader.Skip], reads and drops what is left of it. io.EOF is the end between
// frames, io.ErrUnexpectedEOF the end inside one. Any error of the connection
// ends the reader.
func (r *Reader) Next() (Frame, error) {
	if err := r.Skip(); err != nil {
		return Frame{}, err
	}
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return Frame{}, err
	}
	t, length := Type(binary.BigEndian.Uint16(header[:])), binary.BigEndian.Uint32(header[2:])
	if total := uint64(length) + HeaderSize; total > uint64(r.limit) {
		r.skip = uint64(length)
		return Frame{}, &TooLongError{Type: t, Length: total, Limit: r.limit}
	}
	if !t.Known() {
		r.skip = uint64(length)
		return Frame{}, &UnsupportedError{Type: t}
	}
	var body []byte
	for left := int(length); left > 0; {
		n := min(left, chunk)
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(r.r, body[len(body)-n:]); err != nil {
			return Frame{}, ended(err)
		}
		left -= n
	}
	return Frame{Type: t, Body: body}, nil
}

// Skip drops what is left of a refused frame; without one it does nothing.
func (r *Reader) Skip() error {
	for r.skip > 0 {
		n, err := io.CopyN(io.Discard, r.r, int64(min(r.skip, chunk)))
		r.skip -= uint64(n)
		if err != nil {
			return ended(err)
		}
	}
	return nil
}

func ended(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
