package etcdapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// authority tells who a client is. Nil means that there is no access control.
type authority struct {
	users   map[string]*account
	secrets [][]byte
	ttl     time.Duration
	// hashing is held while a password is checked: one at a time, so that a flood of
	// wrong passwords cannot take the processor away from the votes.
	hashing chan struct{}
	// nobody has the hash that an unknown name is compared with, to take as long.
	nobody []byte
}

const defaultTokenTTL = time.Hour

func newAuthority(access *Access) (*authority, error) {
	if access == nil {
		return nil, nil
	}
	if len(access.Secrets) == 0 {
		return nil, errors.New("etcd API: access control needs a secret that signs tokens")
	}
	a := &authority{
		users: map[string]*account{}, secrets: access.Secrets, ttl: cmp.Or(access.TokenTTL, defaultTokenTTL),
		hashing: make(chan struct{}, 1),
	}
	strength := bcrypt.MinCost
	for name, u := range access.Users {
		a.users[name] = newAccount(name, u)
		if cost, err := bcrypt.Cost(u.PasswordHash); err == nil {
			strength = max(strength, cost)
		}
	}
	var err error
	a.nobody, err = bcrypt.GenerateFromPassword([]byte("nobody"), strength)
	return a, err
}

// login checks a password. Errors: rpctypes.ErrGRPCAuthFailed, and that of ctx.
func (a *authority) login(ctx context.Context, name, password string) (*account, error) {
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
	case <-ctx.Done():
		return nil, toStatus(ctx.Err())
	}
	acc, known := a.users[name]
	hash := a.nobody
	if known && len(acc.hash) > 0 {
		hash = acc.hash
	} else {
		known = false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	return acc, nil
}

// identify returns the account behind a call, by its token or else by the common name
// of its certificate. Late accepts a token that is no longer good.
func (a *authority) identify(ctx context.Context, late bool) (*account, error) {
	if token := tokenOf(ctx); token != "" {
		acc, err := a.verify(token, time.Now())
		if err != nil && (!late || !errors.Is(err, errExpired)) {
			return nil, rpctypes.ErrGRPCInvalidAuthToken
		}
		return acc, nil
	}
	name := certifiedName(ctx)
	if name == "" {
		return nil, rpctypes.ErrGRPCUserEmpty
	}
	if acc := a.users[name]; acc != nil {
		return acc, nil
	}
	return nil, rpctypes.ErrGRPCPermissionDenied
}

// tokenOf finds the token of a call: gRPC clients have a field of their own for it,
// JSON clients send the header "authorization", with or without "Bearer".
func tokenOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, field := range [...]string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if v := md.Get(field); len(v) > 0 {
			return strings.TrimPrefix(v[0], "Bearer ")
		}
	}
	return ""
}

// certifiedNameField carries the common name of a JSON client's certificate over the
// link between the gateway and the gRPC server. The gateway lets no client set it.
const certifiedNameField = "quorate-certified-name"

func certifiedName(ctx context.Context) string {
	if fromGateway(ctx) {
		md, _ := metadata.FromIncomingContext(ctx)
		if v := md.Get(certifiedNameField); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	var state *tls.ConnectionState
	switch info := p.AuthInfo.(type) {
	case *clientConn:
		state = &info.State
	case credentials.TLSInfo: // of the HTTP server
		state = &info.State
	}
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	return state.VerifiedChains[0][0].Subject.CommonName
}

// certifiedNameOf is what the gateway passes on about a request.
func certifiedNameOf(_ context.Context, r *http.Request) metadata.MD {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return metadata.Pairs(certifiedNameField, r.TLS.VerifiedChains[0][0].Subject.CommonName)
}

// authentication implements the part of etcd's Auth service that clients use. Users
// are declared in a file, so there are no calls to change them.
type authentication struct {
	pb.UnimplementedAuthServer
	*api
}

// Authenticate gives out a token. Without access control it says so, and clients that
// are configured with a password (Patroni, vip-manager) go on without it.
func (a *authentication) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if a.authority == nil {
		return nil, rpctypes.ErrGRPCAuthNotEnabled
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	acc, err := a.authority.login(ctx, r.Name, r.Password)
	if err != nil {
		return nil, err
	}
	return &pb.AuthenticateResponse{
		Header: a.header(a.backend.Store().Revision()), Token: a.authority.issue(acc, time.Now().Add(a.authority.ttl)),
	}, nil
}

func (a *authentication) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: a.header(a.backend.Store().Revision()), Enabled: a.authority != nil}, nil
}

// known is a stream of a client whose account has been looked up.
type known struct {
	grpc.ServerStream
	ctx context.Context
}

func (k *known) Context() context.Context { return k.ctx }
