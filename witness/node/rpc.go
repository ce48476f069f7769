package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"quorate/witness"
)

// A frame is a length, an id, a byte, and the rest. In a call the byte is the
// length of the method's name, and the rest is a timeout in milliseconds, the
// name and the request. In an answer the byte is a status, and the rest is the
// response or an error.
const (
	frameHead = 4 + 8 + 1
	maxFrame  = 32 << 20 // bytes; a snapshot never travels this way
	maxCalls  = 512      // calls in progress per connection
)

const (
	statusOK       = 0
	statusError    = 1 // the call was executed or refused; a witness.Error follows
	statusNotTaken = 2 // the call was certainly not executed: ask another witness
)

// errNotTaken says that a request certainly had no effect, so that it may be
// sent again, to another leader for example.
var errNotTaken = errors.New("not executed")

// Handler answers one internal call. An error that is a *witness.Error reaches
// the caller as it is.
type Handler func(ctx context.Context, from string, req []byte) ([]byte, error)

func writeFrame(w io.Writer, id uint64, b byte, parts ...[]byte) error {
	size := frameHead - 4
	for _, p := range parts {
		size += len(p)
	}
	if size > maxFrame {
		return fmt.Errorf("message of %d bytes is longer than %d", size, maxFrame)
	}
	buf := make([]byte, 0, size+4)
	buf = binary.BigEndian.AppendUint32(buf, uint32(size))
	buf = binary.BigEndian.AppendUint64(buf, id)
	buf = append(buf, b)
	for _, p := range parts {
		buf = append(buf, p...)
	}
	_, err := w.Write(buf)
	return err
}

func readFrame(r io.Reader) (id uint64, b byte, rest []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < frameHead-4 || size > maxFrame {
		return 0, 0, nil, fmt.Errorf("message length %d is out of range", size)
	}
	// Grow with what arrives: a length alone must not cost us its memory.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(size-(frameHead-4))); err != nil {
		return 0, 0, nil, err
	}
	return binary.BigEndian.Uint64(head[4:]), head[12], body.Bytes(), nil
}

// serveCalls answers the calls of one connection until it ends.
func serveCalls(conn net.Conn, from string, handler func(method string) Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	out := make(chan struct{}, 1) // serialises answers
	slots := make(chan struct{}, maxCalls)
	answer := func(id uint64, method string, timeout time.Duration, req []byte) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		status, resp := answerCall(ctx, from, method, req, handler(method))
		out <- struct{}{}
		defer func() { <-out }()
		_ = conn.SetWriteDeadline(time.Now().Add(greetTimeout))
		if writeFrame(conn, id, status, resp) != nil {
			_ = conn.Close() // ends the reader as well
		}
	}
	r := bufio.NewReader(conn)
	for {
		id, b, rest, err := readFrame(r)
		n := int(b)
		if err != nil || len(rest) < 4+n {
			return
		}
		timeout := time.Duration(binary.BigEndian.Uint32(rest)) * time.Millisecond
		method, req := string(rest[4:4+n]), rest[4+n:]
		if method == methodTerm {
			answer(id, method, timeout, req) // it never waits for anything
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answer(id, method, timeout, req)
		})
	}
}

func answerCall(ctx context.Context, from, method string, req []byte, h Handler) (byte, []byte) {
	if h == nil {
		return statusError, encodeError(&witness.Error{Code: witness.CodeInternal, Msg: fmt.Sprintf("unknown internal call %q: run the same version on all witnesses", method)})
	}
	resp, err := h(ctx, from, req)
	switch {
	case errors.Is(err, errNotTaken):
		return statusNotTaken, nil
	case err != nil:
		return statusError, encodeError(err)
	case len(resp) > maxFrame-frameHead:
		return statusError, encodeError(&witness.Error{Code: witness.CodeExhausted, Msg: fmt.Sprintf("the answer of %d bytes is too long for the peer port; ask for less", len(resp))})
	}
	return statusOK, resp
}

func encodeError(err error) []byte {
	var e *witness.Error
	if !errors.As(err, &e) {
		e = &witness.Error{Code: witness.CodeInternal, Msg: err.Error()}
	}
	raw, _ := json.Marshal(e) // plain strings
	return raw
}

func decodeError(raw []byte) error {
	e := new(witness.Error)
	if err := json.Unmarshal(raw, e); err != nil || e.Msg == "" {
		return fmt.Errorf("unreadable error from a peer: %q", raw)
	}
	return e
}

// callConn is the calling side of a connection; calls share it.
type callConn struct {
	conn  net.Conn
	write chan struct{} // serialises requests
	done  chan struct{} // closed when the connection is dead

	mu      sync.Mutex
	pending map[uint64]chan callResult
	next    uint64
}

type callResult struct {
	status byte
	rest   []byte
}

func newCallConn(conn net.Conn) *callConn {
	return &callConn{
		conn: conn, write: make(chan struct{}, 1), done: make(chan struct{}),
		pending: map[uint64]chan callResult{},
	}
}

// read hands out answers until the connection ends.
func (c *callConn) read() {
	defer close(c.done)
	defer func() { _ = c.conn.Close() }()
	r := bufio.NewReader(c.conn)
	for {
		id, status, rest, err := readFrame(r)
		if err != nil {
			return
		}
		c.mu.Lock()
		ch := c.pending[id]
		delete(c.pending, id)
		c.mu.Unlock()
		if ch != nil {
			ch <- callResult{status, rest}
		}
	}
}

// call sends one request and waits for its answer. The error is errNotTaken,
// wrapped, if the request certainly had no effect.
func (c *callConn) call(ctx context.Context, method string, req []byte) ([]byte, error) {
	ch := make(chan callResult, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.pending[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	select {
	case c.write <- struct{}{}:
	case <-c.done:
		return nil, fmt.Errorf("%w: connection lost", errNotTaken)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNotTaken, ctx.Err())
	}
	left := maxCallTime
	if d, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(d))
	}
	var ms [4]byte
	binary.BigEndian.PutUint32(ms[:], uint32(max(left, 0)/time.Millisecond))
	_ = c.conn.SetWriteDeadline(time.Now().Add(greetTimeout))
	err := writeFrame(c.conn, id, byte(len(method)), ms[:], []byte(method), req)
	<-c.write
	if err != nil {
		_ = c.conn.Close() // half a frame may be on the wire
		return nil, err
	}
	select {
	case r := <-ch:
		switch r.status {
		case statusOK:
			return r.rest, nil
		case statusNotTaken:
			return nil, errNotTaken
		default:
			return nil, decodeError(r.rest)
		}
	case <-c.done:
		return nil, errors.New("connection lost before the answer")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// maxCallTime bounds a call whose caller set no deadline.
const maxCallTime = 30 * time.Second
