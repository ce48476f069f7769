package etcdapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchPath is the one request of the gateway that may take for ever.
const watchPath = "/v3/watch"

// maxBodyBytes bounds the body of a JSON request: the largest request in base64.
const maxBodyBytes = 3 << 20

// split sends what gRPC there is on the HTTP server's connections to the gRPC server
// and everything else to the HTTP handlers. The protocol version alone does not tell:
// curl speaks HTTP/2 to the gateway over TLS.
func (s *Server) split(a *api, rpc *grpc.Server, plain http.Handler) http.Handler {
	return http.HandlerFunc(func(inner http.ResponseWriter, r *http.Request) {
		w := newPatientWriter(inner, a.limits.Patience)
		defer w.expired.Stop()
		switch {
		case r.ProtoMajor != 2 || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			plain.ServeHTTP(w, r)
		case r.URL.Path == pb.Watch_Watch_FullMethodName, r.URL.Path == pb.Lease_LeaseKeepAlive_FullMethodName:
			rpc.ServeHTTP(w, r)
		default:
			// The request of a unary call must come at once. The deadline is the stream's own.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.limits.BodyTime))
			rpc.ServeHTTP(w, r)
		}
	})
}

// routes are the handlers for JSON and health checks.
func (s *Server) routes(a *api, gateway http.Handler) http.Handler {
	mux := http.NewServeMux()
	v3 := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A node without a leader must not serve JSON clients, not even local
		// reads: Patroni would stay with it. An election is waited for.
		waiting, cancel := a.limit(r.Context())
		defer cancel()
		begin := time.Now()
		if a.leader.wait(waiting) != nil {
			panic(http.ErrAbortHandler)
		}
		waited := time.Since(begin)
		body, err := a.readBody(w, r)
		if err != nil {
			writeError(r.Context(), nil, nil, w, r, err)
			return
		}
		if r.URL.Path != watchPath {
			// One limit for waiting and answering; how long the body took is the client's
			// affair, and bounded by itself.
			ctx, cancel := context.WithTimeout(r.Context(), a.timeout-waited)
			defer cancel()
			r = r.WithContext(ctx)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		gateway.ServeHTTP(w, r)
	})
	mux.Handle("/v3/", v3)
	mux.Handle(watchPath, s.sessions.watching(v3))
	mux.HandleFunc("GET /version", version)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { a.health(w, r) })
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.before(r.Context(), false); err != nil {
			writeText(w, http.StatusServiceUnavailable, "[-]linearizable_read failed\n")
			return
		}
		writeText(w, http.StatusOK, "ok\n")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// net/http waits for a body that nobody has read, behind the answer.
		if r.ContentLength != 0 && !strings.HasPrefix(r.URL.Path, "/v3/") {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.limits.BodyTime))
		}
		mux.ServeHTTP(w, r)
	})
}

// readBody reads a whole body, which must come within the limits. A watch goes on
// reading its connection for hours afterwards, so the deadline is taken back.
func (a *api) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(a.limits.BodyTime)) // supported by both protocols
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, rpctypes.ErrGRPCRequestTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		panic(http.ErrAbortHandler) // whoever sends this slowly waits for no answer
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

// version answers Patroni's first question, which is a GET with a body.
func version(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<10))
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"etcdserver":"`+Version+`","etcdcluster":"`+Version+`","storage":"`+Version+`"}`)
}

// health is etcd's: a linearizable read, unless ?serializable=true.
func (a *api) health(w http.ResponseWriter, r *http.Request) {
	var answer struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}
	code := http.StatusOK
	answer.Health = "true"
	if err := a.before(r.Context(), r.URL.Query().Get("serializable") == "true"); err != nil {
		code, answer.Health, answer.Reason = http.StatusServiceUnavailable, "false", "RAFT NO LEADER"
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // two strings
	}
	writeText(w, code, string(body))
}

func writeText(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}
