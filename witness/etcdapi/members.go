package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Version is the etcd version that the API claims. Patroni parses it as integers
// between dots, asks for watches from 3.1, and uses the path /v3 from 3.4.
const Version = "3.6.0"

// members implements etcd's Cluster service; membership is changed elsewhere.
type members struct {
	pb.UnimplementedClusterServer
	*api
}

func (m *members) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if err := m.before(ctx, !r.Linearizable); err != nil {
		return nil, err
	}
	res := &pb.MemberListResponse{Header: m.header(0)}
	for _, n := range m.backend.Members() {
		res.Members = append(res.Members, &pb.Member{ID: n.ID, Name: n.Name, ClientURLs: n.ClientURLs, PeerURLs: n.PeerURLs})
	}
	return res, nil
}

// maintenance implements the part of etcd's Maintenance service that says something
// about our state.
type maintenance struct {
	pb.UnimplementedMaintenanceServer
	*api
}

// Alarm has none to list. There is no alarm to disarm either, so that succeeds.
func (m *maintenance) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, status.Error(codes.Unimplemented, "quorate: alarms cannot be raised by hand")
	}
	return &pb.AlarmResponse{Header: m.header(m.backend.Store().Revision())}, nil
}

func (m *maintenance) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	st, store := m.backend.Status(), m.backend.Store()
	res := &pb.StatusResponse{
		Header: m.header(store.Revision()), Version: Version, DbSize: store.Size(), DbSizeInUse: store.Size(),
		Leader: st.LeaderID, RaftIndex: st.AppliedIndex, RaftAppliedIndex: st.AppliedIndex, RaftTerm: st.Term,
	}
	if !st.HasLeader {
		res.Errors = []string{rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader)}
	}
	return res, nil
}

// Defragment has nothing to do: the state is in memory.
func (m *maintenance) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{Header: m.header(m.backend.Store().Revision())}, nil
}

// HashKV shows the digest of the current revision, which is equal on all nodes that
// have the same one. Digests of the past are not kept.
func (m *maintenance) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	store := m.backend.Store()
	if r.Revision > store.Revision() {
		return nil, rpctypes.ErrGRPCFutureRev
	}
	if r.Revision > 0 && r.Revision < store.Revision() {
		return nil, status.Errorf(codes.Unimplemented, "quorate: only the hash of the current revision %d is known", store.Revision())
	}
	d := store.Digest()
	return &pb.HashKVResponse{
		Header: m.header(store.Revision()), Hash: uint32(d ^ d>>32), CompactRevision: store.CompactRevision(), HashRevision: store.Revision(),
	}, nil
}

// authentication says that there is none; clients that are configured with a
// password (Patroni, vip-manager) go on without it.
type authentication struct {
	pb.UnimplementedAuthServer
	*api
}

func (a *authentication) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

func (a *authentication) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: a.header(a.backend.Store().Revision())}, nil
}
