//go:build integration

package etcdapi_test

import (
	"context"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// brokenRules are what a server might get wrong. Each changes a request before it is
// sent (res is nil) or a reply.
var brokenRules = map[string]func(req, res any){
	"the header of a range shows the revision that was asked for": func(req, res any) {
		if r, ok := req.(*pb.RangeRequest); ok && res != nil && r.Revision > 0 {
			res.(*pb.RangeResponse).Header.Revision = r.Revision
		}
	},
	"a limit also cuts the count": func(_, res any) {
		if r, ok := res.(*pb.RangeResponse); ok && len(r.Kvs) > 0 {
			r.Count = int64(len(r.Kvs))
		}
	},
	"a put keeps the lease of its key": func(req, res any) {
		if r, ok := req.(*pb.PutRequest); ok && res == nil && r.Lease == 0 && r.Key != nil && string(r.Key) != string(marker) {
			r.IgnoreLease = true
		}
	},
	"a compaction goes one revision too far": func(req, res any) {
		if r, ok := req.(*pb.CompactionRequest); ok && res == nil {
			r.Revision++
		}
	},
	"an unknown lease is renewed": func(_, res any) {
		if r, ok := res.(*pb.LeaseKeepAliveResponse); ok {
			r.TTL = max(r.TTL, 1)
		}
	},
	"a watch loses deletions": func(_, res any) {
		if r, ok := res.(*pb.WatchResponse); ok {
			r.Events = slices.DeleteFunc(r.Events, func(ev *mvccpb.Event) bool {
				return ev.Type == mvccpb.Event_DELETE && string(ev.Kv.Key) != string(marker)
			})
		}
	},
	"a watch shows two revisions in the wrong order": func(_, res any) {
		if r, ok := res.(*pb.WatchResponse); ok && len(r.Events) > 2 {
			r.Events[0], r.Events[1] = r.Events[1], r.Events[0]
		}
	},
}

// bend connects to ours through a rule that is broken.
func bend(t *testing.T, addr string, broken func(req, res any)) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, res any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			req = proto.Clone(req.(proto.Message)) // etcd gets the same one
			broken(req, nil)
			err := next(ctx, method, req, res, cc, opts...)
			if err == nil {
				broken(req, res)
			}
			return err
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := next(ctx, d, cc, method, opts...)
			return &bentStream{s, broken}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

type bentStream struct {
	grpc.ClientStream
	broken func(req, res any)
}

func (b *bentStream) RecvMsg(m any) error {
	err := b.ClientStream.RecvMsg(m)
	if err == nil {
		b.broken(nil, m)
	}
	return err
}
