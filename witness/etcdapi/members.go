package etcdapi

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/witness/kv"
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

// Alarm shows NOSPACE while the quota is used up. It goes off by itself when there is
// room again, so an order to disarm has nothing to do: it fails while there is none.
func (m *maintenance) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	store := m.backend.Store()
	res := &pb.AlarmResponse{Header: m.header(store.Revision())}
	switch r.Action {
	case pb.AlarmRequest_GET:
		if m.full() && (r.Alarm == pb.AlarmType_NONE || r.Alarm == pb.AlarmType_NOSPACE) {
			res.Alarms = []*pb.AlarmMember{{MemberID: m.backend.Identity().MemberID, Alarm: pb.AlarmType_NOSPACE}}
		}
	case pb.AlarmRequest_DEACTIVATE:
		if m.full() && r.Alarm == pb.AlarmType_NOSPACE {
			return nil, status.Errorf(codes.FailedPrecondition,
				"quorate: %d bytes are in use, %d are allowed: delete keys, then compact history; the alarm goes off by itself",
				store.Size(), m.limits.QuotaBytes)
		}
	default:
		return nil, status.Error(codes.Unimplemented, "quorate: alarms cannot be raised by hand")
	}
	return res, nil
}

func (m *maintenance) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	st, store := m.backend.Status(), m.backend.Store()
	res := &pb.StatusResponse{
		Header: m.header(store.Revision()), Version: Version, DbSize: store.Size(), DbSizeInUse: store.Size(), DbSizeQuota: m.limits.QuotaBytes,
		Leader: st.LeaderID, RaftIndex: st.AppliedIndex, RaftAppliedIndex: st.AppliedIndex, RaftTerm: st.Term,
	}
	if !st.HasLeader {
		res.Errors = append(res.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	if m.full() {
		res.Errors = append(res.Errors, fmt.Sprintf("memberID:%d alarm:NOSPACE", m.backend.Identity().MemberID))
	}
	return res, nil
}

// MoveLeader hands leadership to another member. Unlike etcd, any member takes the
// order, not only the leader.
func (m *maintenance) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if !slices.ContainsFunc(m.backend.Members(), func(n Member) bool { return n.ID == r.TargetID }) {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if err := m.backend.MoveLeader(ctx, r.TargetID); err != nil {
		return nil, toStatus(err)
	}
	return &pb.MoveLeaderResponse{Header: m.header(m.backend.Store().Revision())}, nil
}

// Defragment has nothing to do: the state is in memory.
func (m *maintenance) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{Header: m.header(m.backend.Store().Revision())}, nil
}

// HashKV is a checksum over all keys as they were at a revision. It is equal on all
// nodes that have reached that revision and have not compacted it. Its cost is in
// proportion to the keys and to the changes since.
func (m *maintenance) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	store := m.backend.Store()
	rev := r.Revision
	if rev <= 0 {
		rev = store.Revision()
	}
	all := []byte{0}
	res, err := store.Range(kv.RangeRequest{Key: all, RangeEnd: all, Revision: rev})
	if err != nil {
		return nil, toStatus(err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	var numbers [6 * 8]byte
	for _, k := range res.KVs {
		for i, n := range [...]int64{int64(len(k.Key)), int64(len(k.Value)), k.CreateRevision, k.ModRevision, k.Version, k.Lease} {
			binary.LittleEndian.PutUint64(numbers[8*i:], uint64(n))
		}
		for _, part := range [...][]byte{numbers[:], k.Key, k.Value} {
			_, _ = sum.Write(part) // it never fails
		}
	}
	return &pb.HashKVResponse{
		Header: m.header(store.Revision()), Hash: sum.Sum32(), CompactRevision: store.CompactRevision(), HashRevision: rev,
	}, nil
}
