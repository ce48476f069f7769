//go:build integration

package etcdapi_test

import (
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// follower is a stream of watches on one server.
type follower struct {
	stream pb.Watch_WatchClient
	stop   context.CancelFunc
	watch  map[int64]*seen
}

// seen is what a watch has delivered since the last comparison.
type seen struct {
	events []*mvccpb.Event
	upTo   int64 // revision of the last event

	young    bool // compared for the first time
	noDelete bool // sees the put of the marker, not the deletion after it
}

// compareEvents writes the marker, which every watch can see, and compares what the
// watches of both servers have delivered up to it.
func (p *pair) compareEvents() error {
	if err := p.comparePut(&pb.PutRequest{Key: marker}); err != nil {
		return err
	}
	if err := p.compareDelete(&pb.DeleteRangeRequest{Key: marker}); err != nil {
		return err
	}
	if p.etcd.follow != nil {
		for _, s := range [...]*peer{p.etcd, p.ours} {
			if err := s.follow.until(p.rev); err != nil {
				return err
			}
		}
		for id, want := range p.etcd.follow.watch {
			if err := p.sameEvents(id, want, p.ours.follow.watch[id]); err != nil {
				return err
			}
			p.events += len(want.events)
		}
	}
	return nil
}

// goOn lets the watches go on, or opens others. It comes after a compaction: etcd
// takes a while to find out about a watch in the past, and would cancel it.
func (p *pair) goOn() error {
	if p.etcd.follow == nil || p.r.IntN(3) == 0 {
		return p.followAnew()
	}
	for _, s := range [...]*peer{p.etcd, p.ours} {
		for _, w := range s.follow.watch {
			w.events = nil
		}
	}
	return nil
}

func (p *pair) sameEvents(id int64, etcd, ours *seen) error {
	for i := range min(len(etcd.events), len(ours.events)) {
		if etcd.young && etcd.events[i].PrevKv == nil {
			// Etcd notes that a watch wants prev_kv a moment after the watch has begun
			// to send.
			ours.events[i].PrevKv = nil
		}
	}
	etcd.young = false
	for i := range max(len(etcd.events), len(ours.events)) {
		if i >= len(etcd.events) || i >= len(ours.events) || !proto.Equal(etcd.events[i], ours.events[i]) {
			return fmt.Errorf("watch %d, event %d: etcd has %d events, we have %d\netcd: %v\nours: %v", id, i, len(etcd.events), len(ours.events),
				etcd.events[min(i, len(etcd.events)):], ours.events[min(i, len(ours.events)):])
		}
	}
	return nil
}

// followAnew opens four watches on both servers, some of which begin in the past.
func (p *pair) followAnew() error {
	var requests []*pb.WatchCreateRequest
	for range 4 {
		r := &pb.WatchCreateRequest{Key: p.key(), RangeEnd: []byte{0}, PrevKv: p.r.IntN(2) == 0}
		switch p.r.IntN(4) {
		case 0:
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
		case 1:
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
		}
		if past := p.rev - p.compacted; past > 0 && p.r.IntN(3) > 0 {
			r.StartRevision = p.compacted + 1 + p.r.Int64N(past)
		}
		requests = append(requests, r)
	}
	for _, s := range [...]*peer{p.etcd, p.ours} {
		if s.follow != nil {
			s.follow.stop()
		}
		ctx, stop := context.WithCancel(p.Context())
		stream, err := s.watch.Watch(ctx)
		if err != nil {
			stop()
			return err
		}
		s.follow = &follower{stream: stream, stop: stop, watch: map[int64]*seen{}}
		for i, r := range requests {
			if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
				return err
			}
			for n := len(s.follow.watch); len(s.follow.watch) == n; { // events of others may come first
				if err := s.follow.recv(); err != nil {
					return err
				}
			}
			s.follow.watch[int64(i)].noDelete = slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE)
		}
	}
	return nil
}

// until receives until every watch has come to the marker, whose deletion is at rev.
func (f *follower) until(rev int64) error {
	for _, w := range f.watch {
		last := rev
		if w.noDelete {
			last = rev - 1
		}
		for w.upTo < last {
			if err := f.recv(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *follower) recv() error {
	res, err := f.stream.Recv()
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if res.Canceled {
		return fmt.Errorf("watch %d was cancelled: %s", res.WatchId, show(res))
	}
	if res.Created {
		f.watch[res.WatchId] = &seen{young: true}
		return nil
	}
	w := f.watch[res.WatchId]
	for _, ev := range res.Events {
		w.events = append(w.events, ev)
		w.upTo = ev.Kv.ModRevision
	}
	return nil
}
