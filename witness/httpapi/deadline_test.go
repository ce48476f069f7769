package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness/httpapi"
)

// pipeListener accepts the far ends of pipes, so that a real HTTP server with
// its deadlines runs on the clock of a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// serve starts a server on d and returns a way to dial it; the server ends
// with the test.
func serve(t *testing.T, d *demo) (dial func() net.Conn, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &pipeListener{conns: make(chan net.Conn)}
	srv := httpapi.NewServer(ctx, d.api, slog.New(slog.DiscardHandler))
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	return func() net.Conn {
			here, there := net.Pipe()
			l.conns <- there
			return here
		}, func() {
			cancel()
			_ = srv.Close()
			<-done
		}
}

// A request with a body may wait much longer than its body may take.
func TestWaitOutlivesTheReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		dial, stop := serve(t, d)
		defer stop()
		conn := dial()
		defer conn.Close()
		began := time.Now()
		body := fmt.Sprintf(orderOff, "db3", "", "4m")
		if _, err := fmt.Fprintf(conn, "POST /v1/fences HTTP/1.1\r\nHost: w1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(res.Body)
		if waited := time.Since(began); res.StatusCode != http.StatusAccepted || waited != 4*time.Minute {
			t.Errorf("after %s: %d %s", waited, res.StatusCode, raw)
		}
	})
}

// A client that sends its body drop by drop, or takes no answer, is let go.
func TestSlowClientsAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDemo(t)
		dial, stop := serve(t, d)
		defer stop()
		for name, send := range map[string]string{
			"slow header": "GET /v1/status HTTP/1.1\r\nHo",
			"slow body":   "POST /v1/fences HTTP/1.1\r\nHost: w1\r\nContent-Length: 100\r\n\r\n{",
			"reads never": "GET /v1/clusters HTTP/1.1\r\nHost: w1\r\n\r\n",
		} {
			conn := dial()
			if _, err := io.WriteString(conn, send); err != nil {
				t.Fatal(err)
			}
			if name != "reads never" {
				go func() { _, _ = io.Copy(io.Discard, conn) }() // a pipe has no buffer for a last word
			}
			time.Sleep(2 * time.Minute) // virtual
			synctest.Wait()
			if _, err := io.WriteString(conn, strings.Repeat("x", 10)); err == nil {
				t.Errorf("%s: the connection is still open", name)
			}
			_ = conn.Close()
		}
	})
}
