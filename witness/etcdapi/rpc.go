package etcdapi

import (
	"context"
	"math"
	"net"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"
)

const (
	// maxHeaderBytes bounds the headers of a request.
	maxHeaderBytes = 64 << 10
	// idleTimeout ends connections without a request; longer than Patroni's loop_wait.
	idleTimeout = 5 * time.Minute
	// streamWorkers is how many goroutines wait for calls. More calls than that get
	// goroutines of their own.
	streamWorkers = 16
)

// newRPC returns a gRPC server with all services.
func newRPC(a *api, s *sessions, more ...grpc.ServerOption) *grpc.Server {
	rpc := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(recvBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.ChainUnaryInterceptor(requestCame, a.leader.unary, a.unary),
		grpc.ChainStreamInterceptor(s.watchingRPC, a.leader.stream, a.stream),
	}, more...)...)
	pb.RegisterKVServer(rpc, &keyspace{api: a})
	pb.RegisterWatchServer(rpc, &watches{api: a})
	pb.RegisterLeaseServer(rpc, &leases{api: a})
	pb.RegisterClusterServer(rpc, &members{api: a})
	pb.RegisterMaintenanceServer(rpc, &maintenance{api: a})
	pb.RegisterAuthServer(rpc, &authentication{api: a})
	return rpc
}

// forClients are the options of the server that has connections of clients.
func (a *api) forClients() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(handshaken{patience: a.limits.Patience}),
		grpc.ConnectionTimeout(openingTime),
		grpc.MaxConcurrentStreams(streamsPerConn),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.InTapHandle(a.requestInTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout}),
		// grpc-go's default of 5 min makes etcd clients fail with "too_many_pings". A ping
		// costs no more than any other frame, so none is too early.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Nanosecond, PermitWithoutStream: true}),
		// There may be thousands of connections, most of them idle.
		grpc.ReadBufferSize(4 << 10),
		// A goroutine of its own for each call would have to grow its stack first.
		grpc.NumStreamWorkers(streamWorkers),
	}
}

// handshaken are the credentials of connections that have been through TLS, if there
// is TLS, before the gRPC server gets them.
type handshaken struct {
	credentials.TransportCredentials // only for clients: not set
	patience                         time.Duration
}

// clientConn is the authentication information of a client's connection.
type clientConn struct {
	credentials.TLSInfo // empty in plain text
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshaken) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := new(clientConn)
	if c, ok := raw.(*grpcConn); ok && c.tls != nil {
		info.State, info.SecurityLevel = *c.tls, credentials.PrivacyAndIntegrity
	}
	return newWindows(raw, h.patience), info, nil
}

// Info implements credentials.TransportCredentials.
func (h handshaken) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

// Clone implements credentials.TransportCredentials.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// timerKey is the key of the timer of a unary call in its context.
type timerKey struct{}

// requestInTime bounds the time for the request of a unary call, which must come at
// once. Streams may be quiet.
func (a *api) requestInTime(ctx context.Context, info *tap.Info) (context.Context, error) {
	switch info.FullMethodName {
	case pb.Watch_Watch_FullMethodName, pb.Lease_LeaseKeepAlive_FullMethodName:
		return ctx, nil
	}
	ctx, cancel := context.WithCancel(ctx) // the stream's own context ends it in any case
	return context.WithValue(ctx, timerKey{}, time.AfterFunc(a.limits.BodyTime, cancel)), nil
}

// requestCame takes that bound back.
func requestCame(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if t, ok := ctx.Value(timerKey{}).(*time.Timer); ok {
		t.Stop()
	}
	return next(ctx, req)
}

// watchingRPC counts a watch stream of its host while it runs. Those of JSON clients
// are counted before the gateway.
func (s *sessions) watchingRPC(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if info.FullMethod != pb.Watch_Watch_FullMethodName || fromGateway(ss.Context()) {
		return next(srv, ss)
	}
	p, _ := peer.FromContext(ss.Context()) // set by the transport
	host := remoteHost(p.Addr.String())
	s.add(host, 0, 1)
	defer s.add(host, 0, -1)
	return next(srv, ss)
}
