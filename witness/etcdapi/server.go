package etcdapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

const (
	defaultTimeout  = 2 * time.Second
	defaultProgress = 10 * time.Minute
	// stopGrace is what running requests get at shutdown; streams end at once.
	stopGrace = time.Second
	// recvBytes is the largest gRPC message: a request and its frame, as in etcd.
	recvBytes = maxRequestBytes + 512<<10
)

// Server serves the API on one listener. Fill in the exported fields, then call Run
// once. Sessions and SessionsChanged may be called at any time.
type Server struct {
	Listener net.Listener // Run closes it
	Backend  Backend
	Log      *slog.Logger
	TLS      *tls.Config // nil = plain text

	// Timeout bounds one request, an election included; default 2 s. Patroni with
	// two nodes gives each 2.5 s.
	Timeout time.Duration
	// Access says who may do what; nil = everybody everything. TLS must ask for client
	// certificates if users are to be known by them.
	Access *Access
	// Limits bound what clients can make this node hold.
	Limits Limits
	// ProgressInterval is the time between progress notifications to quiet watches
	// that asked for them; default 10 min as in etcd.
	ProgressInterval time.Duration

	sessions sessions
}

// Sessions lists the client hosts with open connections, sorted by address.
func (s *Server) Sessions() []SessionInfo { return s.sessions.list() }

// SessionsChanged returns a channel that is closed when Sessions would answer
// something else. Fetch it before calling Sessions.
func (s *Server) SessionsChanged() <-chan struct{} { return s.sessions.wake() }

// Run serves until ctx ends, and returns when everything that it started has ended:
// nil after a shutdown by ctx, the reason otherwise.
func (s *Server) Run(ctx context.Context) error {
	stopping := make(chan struct{})
	a := &api{
		limits:  s.Limits.withDefaults(),
		backend: s.Backend, leader: newLeaderWatch(s.Backend), log: s.Log, stopping: stopping,
		timeout: cmp.Or(s.Timeout, defaultTimeout), progress: cmp.Or(s.ProgressInterval, defaultProgress),
	}
	var err error
	if a.authority, err = newAuthority(s.Access); err != nil {
		return err
	}
	rpc, inner := newRPC(a, &s.sessions, a.forClients()...), newRPC(a, &s.sessions, grpc.MaxConcurrentStreams(math.MaxUint32))
	link := bufconn.Listen(1 << 20)
	gateway, conn, err := newGateway(ctx, link)
	if err != nil {
		return fmt.Errorf("etcd API: building the JSON gateway: %w", err)
	}
	web := s.webServer(a, inner, gateway)
	port := newSplitter(&countingListener{Listener: s.Listener, sessions: &s.sessions, limits: a.limits, log: s.Log}, s.TLS, s.Log)
	s.Log.Info("etcd API is served", "addr", port.l.Addr().String(), "tls", s.TLS != nil)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.leader.run(ctx) })
	g.Go(port.run)
	g.Go(func() error { return served("its gRPC server", rpc.Serve(port.rpc)) })
	g.Go(func() error { return served("the link of its JSON gateway", inner.Serve(link)) })
	g.Go(func() error { return served("its HTTP server", web.Serve(port.web)) })
	g.Go(func() error {
		<-ctx.Done()
		// Streams first, or the requests below would never be finished; the gateway's
		// server last, since requests of the HTTP server go through it.
		close(stopping)
		port.stop()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		hurry := context.AfterFunc(grace, rpc.Stop)
		var both sync.WaitGroup
		both.Go(rpc.GracefulStop)
		both.Go(func() {
			if web.Shutdown(grace) != nil {
				_ = web.Close()
			}
		})
		both.Wait()
		hurry()
		_ = conn.Close()
		inner.Stop()
		return nil
	})
	err = g.Wait()
	a.readers.Wait()
	return err
}

// webServer returns the server of JSON clients, and of whoever speaks HTTP/2 in a way
// that does not tell.
func (s *Server) webServer(a *api, rpc *grpc.Server, gateway http.Handler) *http.Server {
	web := &http.Server{
		Handler:           secured(s.split(a, rpc, s.routes(a, gateway))),
		ConnContext:       connContext,
		ReadHeaderTimeout: openingTime,
		IdleTimeout:       idleTimeout,
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn},
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // faults of clients
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetHTTP2(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	return web
}

// served says whether a server ended otherwise than by a stop.
func served(what string, err error) error {
	if err == nil || errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("etcd API: %s stopped serving: %w", what, err)
}
