package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"quorate/witness"
	"quorate/witness/etcdapi"
	"quorate/witness/kv"
)

// etcdBackend is the replicated state as the etcd API sees it.
type etcdBackend struct{ *backend }

var _ etcdapi.Backend = (*etcdBackend)(nil)

func (e *etcdBackend) Store() *kv.Store { return e.State().KV }

func (e *etcdBackend) Barrier(ctx context.Context) error { return etcdError(e.backend.Barrier(ctx)) }

func (e *etcdBackend) Txn(ctx context.Context, t kv.TxnRequest) (kv.TxnResult, error) {
	res, err := e.propose(ctx, witness.Txn{Req: t})
	if err != nil {
		return kv.TxnResult{}, err
	}
	return *res.Txn, nil
}

func (e *etcdBackend) Compact(ctx context.Context, rev int64) error {
	_, err := e.propose(ctx, witness.Compact{Rev: rev})
	return err
}

// Grant makes a lease. The TTL has the floor that an election needs.
func (e *etcdBackend) Grant(ctx context.Context, id, ttl int64) (int64, int64, error) {
	if id == 0 {
		id = newLeaseID()
	}
	if _, err := e.propose(ctx, witness.LeaseGrant{ID: id, TTL: ttl}); err != nil {
		return 0, 0, err
	}
	lease, ok := e.State().KV.Lease(id)
	if !ok {
		return 0, 0, kv.ErrLeaseNotFound // it ended within the same moment
	}
	return id, lease.TTL, nil
}

// newLeaseID returns a positive random id, as etcd's own are.
func newLeaseID() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return int64(binary.LittleEndian.Uint64(b[:])&(1<<62-1)) | 1<<40
}

func (e *etcdBackend) Revoke(ctx context.Context, id int64) error {
	_, err := e.propose(ctx, witness.LeaseRevoke{ID: id})
	return err
}

func (e *etcdBackend) KeepAlive(ctx context.Context, id int64) (int64, error) {
	ttl, err := e.Node.KeepAlive(ctx, id)
	return ttl, etcdError(err)
}

// Fencing says whether the holder that lived by a lease is being powered off.
func (e *etcdBackend) Fencing(id int64) bool { return e.State().FencingHolder(id) }

func (e *etcdBackend) TimeToLive(ctx context.Context, id int64) (int64, error) {
	left, _, err := e.Node.TimeToLive(ctx, id)
	if err == nil && left < 0 {
		return 0, kv.ErrLeaseNotFound
	}
	return left, etcdError(err)
}

// MoveLeader hands leadership to the witness with that id.
func (e *etcdBackend) MoveLeader(ctx context.Context, id uint64) error {
	name := ""
	for _, m := range e.Node.Members() {
		if m.ID == id {
			name = m.Name
		}
	}
	if name == "" {
		return fmt.Errorf("no witness has the id %x: it was removed meanwhile", id)
	}
	if err := e.TransferLeadership(ctx, name); err != nil {
		return etcdError(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, leader := e.Leader(); leader == id {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (e *etcdBackend) Identity() etcdapi.Identity {
	return etcdapi.Identity{ClusterID: e.State().ClusterID, MemberID: e.MemberID()}
}

func (e *etcdBackend) Status() etcdapi.Status {
	s := e.State()
	_, leader := e.Leader()
	return etcdapi.Status{
		Term: s.Term, AppliedIndex: s.Index, LeaderID: leader,
		HasLeader: leader != 0 && e.Contact() <= e.contactLimit,
	}
}

func (e *etcdBackend) Members() []etcdapi.Member {
	var out []etcdapi.Member
	for _, m := range e.Node.Members() {
		if !m.Voter {
			continue
		}
		em := etcdapi.Member{ID: m.ID, Name: m.Name, PeerURLs: []string{"http://" + m.PeerAddr}}
		if url := m.Meta["etcd"]; url != "" {
			em.ClientURLs = []string{url}
		}
		out = append(out, em)
	}
	return out
}

// propose commits a command and returns once it is applied here too, so that
// the client's next local read sees it.
func (e *etcdBackend) propose(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	res, err := e.Propose(ctx, cmd)
	if err == nil && res.Err != nil {
		err = res.Err
	}
	if err != nil {
		return res, etcdError(err)
	}
	return res, e.applied(ctx, res.Index)
}

// etcdError puts an error of the log into the words of the etcd API.
func etcdError(err error) error {
	var we *witness.Error
	if err == nil || !errors.As(err, &we) {
		return err
	}
	switch we.Code {
	case witness.CodeNoQuorum:
		return fmt.Errorf("%w: %s", etcdapi.ErrNoLeader, we.Msg)
	case witness.CodeGuarded:
		return fmt.Errorf("%w: %s", etcdapi.ErrGuarded, strings.TrimSpace(we.Error()))
	}
	return err // errors of the key space match their kv sentinels as they are
}
