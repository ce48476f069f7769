package etcdapi

import (
	"bytes"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"quorate/witness/kv"
)

// Reasons for refusing a watch; the texts are etcd's.
var (
	errEmptyRange     = errors.New("mvcc: watcher range is empty")
	errDuplicateWatch = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errTooManyWatches = errors.New("quorate: too many watches, on this stream or on this node; close those that are not needed")
)

const (
	// maxRequestBytes bounds a request, and a message of a watch with fragments.
	maxRequestBytes = 1536 << 10
	// A message of a watch that catches up is closed after so many events or bytes.
	batchEvents = 1000
	batchBytes  = 1 << 20
)

// watch is one watch of a stream.
type watch struct {
	id     int64
	lo, hi string // as Key and RangeEnd of a range request
	next   int64  // everything before this revision has been sent

	prevKV, fragment, progress bool
	noPut, noDelete            bool

	quiet bool // no events since the last look at progress
}

// newWatch reads a request at revision rev; start revision 0 means the next one.
func newWatch(r *pb.WatchCreateRequest, rev int64) (*watch, error) {
	w := &watch{
		id: r.WatchId, lo: string(r.Key), hi: string(r.RangeEnd), next: r.StartRevision,
		prevKV: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify, quiet: true,
	}
	if w.lo == "" {
		w.lo = "\x00" // the smallest key
	}
	if w.hi != "" && w.hi != "\x00" && w.lo >= w.hi {
		return nil, errEmptyRange
	}
	if w.next == 0 {
		w.next = rev + 1
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			w.noPut = true
		case pb.WatchCreateRequest_NODELETE:
			w.noDelete = true
		}
	}
	return w, nil
}

// batch collects events of whole revisions for one message.
type batch struct {
	events []*mvccpb.Event
	bytes  int
}

// add takes the events of one revision.
func (b *batch) add(w *watch, evs []kv.Event) {
	for i, ev := range evs {
		if w.prevKV && ev.Prev != nil && ev.Prev.ModRevision == ev.KV.ModRevision {
			// An earlier operation of the same transaction made that version. Etcd gives
			// the one of the revision before, which the first of them found.
			first := slices.IndexFunc(evs[:i], func(e kv.Event) bool { return bytes.Equal(e.KV.Key, ev.KV.Key) })
			if first >= 0 {
				ev.Prev = evs[first].Prev
			}
		}
		if ev.Type == kv.Put && w.noPut || ev.Type == kv.Delete && w.noDelete {
			continue
		}
		out := eventTo(ev, w.prevKV)
		b.events = append(b.events, out)
		b.bytes += proto.Size(out)
	}
}

func (b *batch) full() bool { return len(b.events) >= batchEvents || b.bytes >= batchBytes }

// fragments splits a message into pieces of fewer than limit bytes, if its events
// are not single ones of that size. All but the last are marked.
func fragments(res *pb.WatchResponse, limit int) []*pb.WatchResponse {
	if len(res.Events) < 2 || proto.Size(res) < limit {
		return []*pb.WatchResponse{res}
	}
	const perEvent = 8 // tag and length of one event
	frame := proto.Size(&pb.WatchResponse{Header: res.Header, WatchId: res.WatchId, Fragment: true})
	var parts []*pb.WatchResponse
	size := limit
	for _, ev := range res.Events {
		n := proto.Size(ev) + perEvent
		if size+n >= limit {
			parts = append(parts, &pb.WatchResponse{Header: res.Header, WatchId: res.WatchId, Fragment: true})
			size = frame
		}
		last := parts[len(parts)-1]
		last.Events = append(last.Events, ev)
		size += n
	}
	parts[len(parts)-1].Fragment = false
	return parts
}
