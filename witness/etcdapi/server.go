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
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
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
	rpc := newRPC(a)
	link := bufconn.Listen(1 << 20)
	gateway, conn, err := newGateway(ctx, link)
	if err != nil {
		return fmt.Errorf("etcd API: building the JSON gateway: %w", err)
	}
	web := &http.Server{
		Handler:           s.split(a, rpc, s.routes(a, gateway)),
		TLSConfig:         s.TLS.Clone(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       5 * time.Minute, // longer than Patroni's loop_wait
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn},
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // faults of clients
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetHTTP2(true)
	web.Protocols.SetUnencryptedHTTP2(true)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.leader.run(ctx) })
	g.Go(func() error {
		if err := rpc.Serve(link); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("etcd API: the link of the JSON gateway broke: %w", err)
		}
		return nil
	})
	g.Go(func() error { return s.serve(web) })
	g.Go(func() error {
		<-ctx.Done()
		// Streams first, or the requests below would never be finished; the
		// gRPC server last, since the gateway's requests go through it.
		close(stopping)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if web.Shutdown(grace) != nil {
			_ = web.Close()
		}
		_ = conn.Close()
		rpc.Stop()
		return nil
	})
	err = g.Wait()
	a.readers.Wait()
	return err
}

func (s *Server) serve(web *http.Server) error {
	l := &countingListener{Listener: s.Listener, sessions: &s.sessions, limits: s.Limits.withDefaults(), log: s.Log}
	s.Log.Info("etcd API is served", "addr", l.Addr().String(), "tls", s.TLS != nil)
	var err error
	if s.TLS != nil {
		err = web.ServeTLS(l, "", "")
	} else {
		err = web.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("etcd API on %s stopped serving: %w", l.Addr(), err)
}

// newRPC returns the gRPC server with all services.
func newRPC(a *api) *grpc.Server {
	rpc := grpc.NewServer(
		grpc.MaxRecvMsgSize(recvBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(math.MaxUint32), // of the gateway; the HTTP server counts the others
		// grpc-go's default of 5 min makes etcd clients fail with "too_many_pings".
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(a.leader.unary, a.unary),
		grpc.ChainStreamInterceptor(a.leader.stream, a.stream),
	)
	pb.RegisterKVServer(rpc, &keyspace{api: a})
	pb.RegisterWatchServer(rpc, &watches{api: a})
	pb.RegisterLeaseServer(rpc, &leases{api: a})
	pb.RegisterClusterServer(rpc, &members{api: a})
	pb.RegisterMaintenanceServer(rpc, &maintenance{api: a})
	pb.RegisterAuthServer(rpc, &authentication{api: a})
	return rpc
}
