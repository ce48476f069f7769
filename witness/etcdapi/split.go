package etcdapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// splitter gives each connection of a port to one of two servers: gRPC clients to
// grpc-go's own, which costs half of what it costs behind net/http, and all others to
// the HTTP server, which can also serve gRPC. So whoever is in doubt goes there.
type splitter struct {
	l         *countingListener
	tls       *tls.Config // nil = plain text
	rpc, web  *handoff
	log       *slog.Logger
	mu        sync.Mutex
	stopped   bool
	unsettled map[net.Conn]struct{} // whose protocol is not known yet
	working   sync.WaitGroup
}

func newSplitter(l *countingListener, config *tls.Config, log *slog.Logger) *splitter {
	s := &splitter{
		l: l, rpc: newHandoff(l.Addr()), web: newHandoff(l.Addr()), log: log, unsettled: map[net.Conn]struct{}{},
	}
	if config != nil {
		s.tls = config.Clone()
		s.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	return s
}

// run accepts connections until the listener is closed by stop.
func (s *splitter) run() error {
	defer s.working.Wait()
	pause := time.Duration(0)
	for {
		conn, err := s.l.Accept()
		switch {
		case err == nil:
			pause = 0
		case errors.Is(err, net.ErrClosed):
			return nil
		case slices.ContainsFunc(passing, func(e syscall.Errno) bool { return errors.Is(err, e) }):
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			s.log.Warn("etcd API cannot take a connection, it tries again", "err", err, "in", pause)
			time.Sleep(pause)
			continue
		default:
			return fmt.Errorf("etcd API on %s stopped serving: %w", s.l.Addr(), err)
		}
		if !s.enter(conn) {
			_ = conn.Close()
			continue
		}
		s.working.Go(func() {
			defer s.leave(conn)
			s.settle(conn)
		})
	}
}

// passing are the errors of accept(2) after which it may be called again.
var passing = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPERM, syscall.EPROTO,
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
}

// stop closes the port and the connections that neither server has.
func (s *splitter) stop() {
	_ = s.l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for conn := range s.unsettled {
		_ = conn.Close()
	}
}

func (s *splitter) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.unsettled[conn] = struct{}{}
	}
	return !s.stopped
}

func (s *splitter) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unsettled, conn)
}

// settle finds out what a connection speaks and hands it over, or closes it.
func (s *splitter) settle(raw *countedConn) {
	conn, secured, err := s.secure(raw)
	if err != nil {
		s.log.Debug("etcd API: TLS handshake failed", "remote", raw.RemoteAddr(), "err", err)
		_ = raw.Close()
		return
	}
	if secured != nil && secured.NegotiatedProtocol != "h2" {
		s.web.give(conn) // it is HTTP/1
		return
	}
	verdict, head, err := opening(conn)
	switch {
	case err != nil:
		_ = conn.Close()
	case verdict == speaksGRPC:
		raw.ack = nil // such clients do not wait for acknowledgements
		s.rpc.give(&grpcConn{replayed{conn, bytes.NewReader(head)}, secured})
	default:
		s.web.give(&webConn{replayed{conn, bytes.NewReader(head)}, secured})
	}
}

// secure makes the TLS handshake, if there is TLS.
func (s *splitter) secure(raw *countedConn) (net.Conn, *tls.ConnectionState, error) {
	if s.tls == nil {
		return raw, nil, nil
	}
	_ = raw.SetDeadline(time.Now().Add(openingTime)) // a failure shows at the next read
	conn := tls.Server(raw, s.tls)
	if err := conn.Handshake(); err != nil {
		var clear tls.RecordHeaderError
		if errors.As(err, &clear) && clear.Conn != nil && speaksClearHTTP(clear.RecordHeader) {
			_, _ = io.WriteString(clear.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		}
		return nil, nil, err
	}
	state := conn.ConnectionState()
	return conn, &state, raw.SetDeadline(time.Time{})
}

func speaksClearHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PRI *":
		return true
	}
	return false
}

// grpcConn and webConn are connections whose protocol is known.
type (
	grpcConn struct {
		replayed
		tls *tls.ConnectionState
	}
	webConn struct {
		replayed
		tls *tls.ConnectionState
	}
)

// tlsKey is the key of the state of TLS in the context of an HTTP connection.
type tlsKey struct{}

// connContext keeps the state of TLS, which the HTTP server does not see below a
// replayed connection.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*webConn); ok && c.tls != nil {
		return context.WithValue(ctx, tlsKey{}, c.tls)
	}
	return ctx
}

// secured gives requests the state of TLS of their connection.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state, ok := r.Context().Value(tlsKey{}).(*tls.ConnectionState); ok && r.TLS == nil {
			r.TLS = state
		}
		next.ServeHTTP(w, r)
	})
}

// handoff is a listener whose connections somebody else accepted.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newHandoff(addr net.Addr) *handoff {
	h := &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	h.close = sync.OnceFunc(func() { close(h.done) })
	return h
}

// give passes a connection on, or closes it if nobody accepts any more.
func (h *handoff) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		_ = conn.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.close()
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }
