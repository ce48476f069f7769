//go:build integration

package etcdapi_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

var seed = flag.Uint64("seed", 0, "seed of TestDifferential; 0 picks one and prints it")

const (
	differentialOps    = 200_000 // of all shards; QUORATE_OPS overrides it
	differentialShards = 6
)

// TestDifferential sends the same random requests to a real etcd and to ours, over
// the wire, and compares every field of every reply, and the events of watches that
// are open meanwhile. Each shard has an etcd process of its own.
//
// What is left out on purpose, because etcd leaves it open or is wrong: the order of
// keys that are equal in what is sorted by (more than twelve elements), a delete from
// a key on that meets a put in one transaction, deletions at the compacted revision
// (etcd#18089), unknown sort orders (refused since 3.5 only), and progress on request (etcd 3.4 sends it too early).
func TestDifferential(t *testing.T) {
	ops := differentialOps
	if v := os.Getenv("QUORATE_OPS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("QUORATE_OPS: %v", err)
		}
		ops = n
	}
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("to repeat: -seed %d", n)
	var pairs []*pair
	for shard := range differentialShards {
		pairs = append(pairs, newPair(t, n, uint64(shard), start(t).dial()))
	}
	var g errgroup.Group
	for shard, p := range pairs {
		g.Go(func() error {
			if err := p.run(ops / differentialShards); err != nil {
				return fmt.Errorf("seed %d, shard %d: %w", n, shard, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	var requests, refused, events int
	for _, p := range pairs {
		requests, refused, events = requests+p.step, refused+p.refused, events+p.events
	}
	t.Logf("%d requests compared, %d of them refused by both, and %d events of watches", requests, refused, events)
}

// TestDifferentialSeesABrokenRule is the negative control: a server of ours that
// breaks one rule of etcd must be found out.
func TestDifferentialSeesABrokenRule(t *testing.T) {
	for name, broken := range brokenRules {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 1, 0, bend(t, start(t).addr, broken))
			err := p.run(20_000)
			if err == nil {
				t.Fatalf("not noticed in %d requests", p.step)
			}
			t.Logf("noticed at request %d: %.120s", p.step, err)
		})
	}
}

// peer is one of the two servers.
type peer struct {
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  pb.WatchClient
	renew  pb.Lease_LeaseKeepAliveClient
	follow *follower
}

func newPeer(t *testing.T, conn *grpc.ClientConn) *peer {
	p := &peer{kv: pb.NewKVClient(conn), lease: pb.NewLeaseClient(conn), watch: pb.NewWatchClient(conn)}
	var err error
	if p.renew, err = p.lease.LeaseKeepAlive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// pair is the two servers that are given the same requests.
type pair struct {
	*testing.T
	r          *rand.Rand
	etcd, ours *peer

	rev, compacted int64 // from the replies
	step           int   // requests so far
	refused        int   // with the same error
	events         int   // of watches
}

func newPair(t *testing.T, seed, shard uint64, ours *grpc.ClientConn) *pair {
	return &pair{T: t, r: rand.New(rand.NewPCG(seed, shard)), etcd: newPeer(t, startEtcd(t)), ours: newPeer(t, ours), rev: 1}
}

// run sends requests until one is answered differently.
func (p *pair) run(requests int) error {
	for p.step < requests {
		if err := p.one(); err != nil {
			return fmt.Errorf("request %d: %w", p.step, err)
		}
	}
	return p.compareEvents()
}

func (p *pair) one() error {
	switch n := p.r.IntN(1000); {
	case n < 330:
		return p.compareTxn(p.txn(2))
	case n < 560:
		return p.compareRange(p.rangeRequest())
	case n < 660:
		return p.comparePut(p.put())
	case n < 720:
		return p.compareDelete(p.delete())
	case n < 780:
		return p.compareGrant()
	case n < 820:
		return p.compareRevoke()
	case n < 860:
		return p.compareTimeToLive()
	case n < 880:
		return p.compareLeases()
	case n < 960:
		return p.compareRenewal()
	case n < 990:
		return p.compareTxn(&pb.TxnRequest{Success: []*pb.RequestOp{p.write()}})
	}
	if err := p.compareEvents(); err != nil { // what is about to be forgotten
		return err
	}
	if err := p.compareCompact(); err != nil {
		return err
	}
	return p.goOn()
}

// both sends a request to the two servers at once, and compares errors by code and
// text. It returns nil replies if both refused.
func both[Req, Res proto.Message](p *pair, req Req, call func(*peer, context.Context, Req, ...grpc.CallOption) (Res, error)) (etcd, ours Res, err error) {
	p.step++
	type reply struct {
		res Res
		err error
	}
	first := make(chan reply, 1)
	go func() {
		res, err := call(p.etcd, p.Context(), req)
		first <- reply{res, err}
	}()
	ours, oursErr := call(p.ours, p.Context(), req)
	theirs := <-first
	a, b := status.Convert(theirs.err), status.Convert(oursErr)
	if a.Code() != b.Code() || a.Message() != b.Message() {
		return etcd, ours, fmt.Errorf("etcd says %q %s, we say %q %s to\n%s", a.Message(), a.Code(), b.Message(), b.Code(), show(req))
	}
	if oursErr != nil {
		var none Res
		p.refused++
		return none, none, nil
	}
	return theirs.res, ours, nil
}

// headed is a reply with a header.
type headed interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
}

// same compares two replies, but for who sent them and in which term.
func (p *pair) same(req proto.Message, etcd, ours headed) error {
	for _, m := range [...]headed{etcd, ours} {
		h := m.GetHeader()
		if h == nil || h.ClusterId == 0 || h.MemberId == 0 || h.RaftTerm == 0 {
			return fmt.Errorf("no header in\n%s", show(m))
		}
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	}
	if !proto.Equal(etcd, ours) {
		return fmt.Errorf("to\n%s\netcd says\n%s\nwe say\n%s", show(req), show(etcd), show(ours))
	}
	p.rev = max(p.rev, ours.GetHeader().Revision)
	return nil
}

func (p *pair) compareTxn(r *pb.TxnRequest) error {
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.TxnRequest, o ...grpc.CallOption) (*pb.TxnResponse, error) {
		return s.kv.Txn(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareRange(r *pb.RangeRequest) error {
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.RangeRequest, o ...grpc.CallOption) (*pb.RangeResponse, error) {
		return s.kv.Range(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) comparePut(r *pb.PutRequest) error {
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.PutRequest, o ...grpc.CallOption) (*pb.PutResponse, error) {
		return s.kv.Put(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareDelete(r *pb.DeleteRangeRequest) error {
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.DeleteRangeRequest, o ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
		return s.kv.DeleteRange(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareGrant() error {
	ttl := int64(100_000 + p.r.IntN(1000))
	if p.r.IntN(20) == 0 {
		ttl = 9_000_000_000 + int64(p.r.IntN(2))
	}
	r := &pb.LeaseGrantRequest{ID: 1 + p.r.Int64N(maxLease), TTL: ttl} // etcd would choose for 0
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.LeaseGrantRequest, o ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
		return s.lease.LeaseGrant(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareRevoke() error {
	r := &pb.LeaseRevokeRequest{ID: p.leaseID()}
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.LeaseRevokeRequest, o ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
		return s.lease.LeaseRevoke(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareTimeToLive() error {
	r := &pb.LeaseTimeToLiveRequest{ID: p.leaseID(), Keys: p.r.IntN(2) == 0}
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.LeaseTimeToLiveRequest, o ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
		return s.lease.LeaseTimeToLive(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	for _, res := range [...]*pb.LeaseTimeToLiveResponse{etcd, ours} {
		slices.SortFunc(res.Keys, bytes.Compare) // etcd has no order
		if res.TTL > 0 && res.TTL <= res.GrantedTTL {
			res.TTL = res.GrantedTTL // some of it has passed
		}
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareLeases() error {
	r := &pb.LeaseLeasesRequest{}
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.LeaseLeasesRequest, o ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
		return s.lease.LeaseLeases(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	slices.SortFunc(etcd.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) }) // by expiry
	return p.same(r, etcd, ours)
}

func (p *pair) compareRenewal() error {
	r := &pb.LeaseKeepAliveRequest{ID: p.leaseID()}
	etcd, ours, err := both(p, r, func(s *peer, _ context.Context, r *pb.LeaseKeepAliveRequest, _ ...grpc.CallOption) (*pb.LeaseKeepAliveResponse, error) {
		if err := s.renew.Send(r); err != nil {
			return nil, err
		}
		return s.renew.Recv()
	})
	if err != nil || ours == nil {
		return err
	}
	return p.same(r, etcd, ours)
}

func (p *pair) compareCompact() error {
	r := &pb.CompactionRequest{Revision: 1 + max(0, p.rev-20) + p.r.Int64N(24)}
	etcd, ours, err := both(p, r, func(s *peer, ctx context.Context, r *pb.CompactionRequest, o ...grpc.CallOption) (*pb.CompactionResponse, error) {
		return s.kv.Compact(ctx, r, o...)
	})
	if err != nil || ours == nil {
		return err
	}
	p.compacted = r.Revision
	return p.same(r, etcd, ours)
}

// startEtcd runs a real etcd on loopback until the test ends.
func startEtcd(t *testing.T) *grpc.ClientConn {
	t.Helper()
	bin, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	client, peer := freeAddr(t), freeAddr(t)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--name", "e1", "--data-dir", filepath.Join(dir, "data"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", "e1=http://"+peer, "--log-level", "error")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	conn, err := grpc.NewClient(client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("x")}, grpc.WaitForReady(true)); err != nil {
		log, _ := os.ReadFile(out.Name())
		t.Fatalf("etcd does not answer: %v\n%s", err, log)
	}
	return conn
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func show(m proto.Message) string {
	return prototext.MarshalOptions{Multiline: true, Indent: " "}.Format(m)
}
