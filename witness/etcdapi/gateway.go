package etcdapi

import (
	"context"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// jsonError is the body of an error. Etcd 3.4 has all three fields and Patroni 3.0.2
// recognises an error only by the text in `error`; etcd 3.6 has no `error`, and
// later Patronis read `message`.
type jsonError struct {
	Error   string     `json:"error"`
	Code    codes.Code `json:"code"`
	Message string     `json:"message"`
}

// jsonStreamError is an error inside a stream. Patroni 3.0.2 needs grpc_code,
// message and http_code; the generated gateway alone gives only code.
type jsonStreamError struct {
	Code     int32  `json:"code"`
	GRPCCode int32  `json:"grpc_code"`
	HTTPCode int    `json:"http_code"`
	Message  string `json:"message"`
}

// marshaler is etcd's JSON: names as in the protocol, 64 bit numbers as strings,
// and no field whose value is zero. The last point is vital, see package comment.
type marshaler struct{ runtime.JSONPb }

func newMarshaler() *marshaler {
	return &marshaler{runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: false},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}}
}

// Marshal writes the gateway's error messages of streams in the form above.
func (m *marshaler) Marshal(v any) ([]byte, error) {
	if chunk, ok := v.(map[string]proto.Message); ok {
		if st, ok := chunk["error"].(*spb.Status); ok {
			return json.Marshal(map[string]jsonStreamError{"error": {
				Code: st.Code, GRPCCode: st.Code, HTTPCode: runtime.HTTPStatusFromCode(codes.Code(st.Code)), Message: st.Message,
			}})
		}
	}
	return m.JSONPb.Marshal(v)
}

// newGateway returns the handler of /v3/ and the connection that it uses, which the
// caller closes.
func newGateway(ctx context.Context, link *bufconn.Listener) (http.Handler, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return link.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, nil, err
	}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithErrorHandler(writeError),
		runtime.WithStreamErrorHandler(streamError),
		runtime.WithMetadata(certifiedNameOf),
		runtime.WithIncomingHeaderMatcher(func(header string) (string, bool) {
			name, pass := runtime.DefaultHeaderMatcher(header)
			return name, pass && !strings.EqualFold(name, certifiedNameField)
		}),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
		gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
	} {
		if err := register(ctx, mux, conn); err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
	}
	return mux, conn, nil
}

// writeError answers a failed request, or breaks the connection where the client
// must turn to another node.
func writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	st := status.Convert(err)
	abortIfUnserved(st)
	body, err := json.Marshal(jsonError{Error: st.Message(), Code: st.Code(), Message: st.Message()})
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(runtime.HTTPStatusFromCode(st.Code()))
	_, _ = w.Write(body) // a client that is gone needs no error
}

func streamError(_ context.Context, err error) *status.Status {
	st := status.Convert(err)
	abortIfUnserved(st)
	return st
}

// abortIfUnserved is for what another node may do better: this one has no leader, or
// took too long.
func abortIfUnserved(st *status.Status) {
	if st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded {
		panic(http.ErrAbortHandler)
	}
}
