package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"quorate/witness/qnetd/wire"
)

// writeTime is how long one message may take to leave. A peer that does not read
// for so long is as good as gone: a client that waits longer has lost its vote.
const writeTime = 5 * time.Second

// RefusedError is a server that answered, and said no.
type RefusedError struct {
	Code   wire.ErrorCode
	During wire.Type // the message that was refused
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server refuses %v: %v", e.During, e.Code)
}

// Conn is a connection after its handshake. One goroutine receives; any may send.
type Conn struct {
	net    net.Conn
	reader *wire.Reader

	mu  sync.Mutex
	seq uint32
	buf []byte
}

// Handshake makes nc a connection of the cluster: PREINIT and, unless config is
// nil, STARTTLS and TLS. There is no falling back: with a config the server must
// offer TLS, without one it must not require it. firstSeq is the first sequence
// number to use, 1 for a new client. The context bounds the handshake alone. On
// error nc is closed.
func Handshake(ctx context.Context, nc net.Conn, cluster string, config *tls.Config, firstSeq uint32) (*Conn, error) {
	c := &Conn{net: nc, reader: wire.NewReader(nc, wire.MaxMessage), seq: firstSeq}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err := c.preinit(cluster, config != nil)
	if err == nil && config != nil {
		err = c.startTLS(ctx, config)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w (%w)", err, ctx.Err())
		}
		return nil, err
	}
	return c, nil
}

func (c *Conn) preinit(cluster string, withTLS bool) error {
	seq := c.NextSeq()
	if err := c.Send(wire.Preinit{Seq: seq, Cluster: cluster}); err != nil {
		return err
	}
	reply, err := receive[wire.PreinitReply](c, wire.TypePreinit)
	switch {
	case err != nil:
		return err
	case reply.Seq != seq:
		return fmt.Errorf("the server answers PREINIT %d with sequence number %d", seq, reply.Seq)
	case withTLS && reply.TLS == wire.TLSUnsupported:
		return errors.New("the server does not offer TLS, which this client requires")
	case !withTLS && reply.TLS == wire.TLSRequired:
		return errors.New("the server requires TLS, for which this client has no certificate")
	}
	return nil
}

func (c *Conn) startTLS(ctx context.Context, config *tls.Config) error {
	if err := c.Send(wire.StartTLS{Seq: c.NextSeq()}); err != nil {
		return err
	}
	secure := tls.Client(c.net, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with the server: %w", err)
	}
	c.net, c.reader = secure, wire.NewReader(secure, wire.MaxMessage)
	return nil
}

// Init makes the connection a session and fills in the message's sequence
// number. It fails with [*RefusedError] if the server says no, and as a real
// client does for sizes and algorithms that it cannot work with.
func (c *Conn) Init(ctx context.Context, m wire.Init) (wire.InitReply, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	m.Seq = c.NextSeq()
	if err := c.Send(m); err != nil {
		return wire.InitReply{}, err
	}
	reply, err := receive[wire.InitReply](c, wire.TypeInit)
	switch {
	case err != nil:
	case reply.Seq != m.Seq:
		err = fmt.Errorf("the server answers INIT %d with sequence number %d", m.Seq, reply.Seq)
	case reply.Code != wire.NoError:
		err = &RefusedError{Code: reply.Code, During: wire.TypeInit}
	case reply.MaxRequest < wire.MaxMessage || reply.MaxReply > wire.MaxClientMessage:
		err = fmt.Errorf("the server's message sizes do not fit: requests up to %d, replies up to %d bytes", reply.MaxRequest, reply.MaxReply)
	case !slices.Contains(reply.Algorithms, m.Algorithm):
		err = fmt.Errorf("the server does not offer the algorithm %v", m.Algorithm)
	}
	return reply, err
}

// receive takes one message, which must be a T.
func receive[T wire.Message](c *Conn, request wire.Type) (T, error) {
	var none T
	m, err := c.Receive()
	if err != nil {
		return none, fmt.Errorf("no answer to %v: %w", request, err)
	}
	switch m := m.(type) {
	case T:
		return m, nil
	case wire.ServerError:
		return none, &RefusedError{Code: m.Code, During: request}
	}
	return none, fmt.Errorf("the server answers %v with %v", request, m.Type())
}

// NextSeq takes the next sequence number.
func (c *Conn) NextSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return c.seq - 1
}

// Send writes one message.
func (c *Conn) Send(m wire.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, err := wire.Append(c.buf[:0], m)
	if err != nil {
		return err
	}
	c.buf = raw
	_ = c.net.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := c.net.Write(raw); err != nil {
		return fmt.Errorf("send %v: %w", m.Type(), err)
	}
	_ = c.net.SetWriteDeadline(time.Time{}) // TLS writes of its own accord, too
	return nil
}

// Receive waits for one message from the server. Any error ends the connection:
// a message that only a client sends is one.
func (c *Conn) Receive() (wire.Message, error) {
	f, err := c.reader.Next()
	if err != nil {
		return nil, err
	}
	m, err := wire.Decode(f)
	if err != nil {
		return nil, err
	}
	if !m.Type().FromServer() {
		return nil, fmt.Errorf("the server sent %v, which only a client does", m.Type())
	}
	return m, nil
}

// TLS tells whether the connection is encrypted.
func (c *Conn) TLS() bool { _, is := c.net.(*tls.Conn); return is }

// RemoteAddr is the server's address.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// Close closes the connection; a [Conn.Receive] under way returns.
func (c *Conn) Close() error {
	if secure, is := c.net.(*tls.Conn); is {
		// No close_notify: it would wait for a peer that may be gone.
		return secure.NetConn().Close()
	}
	return c.net.Close()
}
