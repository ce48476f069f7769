package etcdapi

import (
	"errors"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"quorate/witness/kv"
)

// watches implements etcd's Watch service.
type watches struct {
	pb.UnimplementedWatchServer
	*api
}

// noWatchID is the id in messages that belong to no watch, or to all.
const noWatchID = -1

type (
	watchServerStream = grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]

	// watchStream is one client stream with its watches. One goroutine owns it: it
	// handles requests, sends events and sends progress, so that progress can never
	// overtake events (kine#731).
	//
	// Nothing is queued for a slow client. Each watch remembers the next revision
	// that it wants, and takes it from the history of the store when the client is
	// ready; if that has been compacted meanwhile, the watch is cancelled.
	watchStream struct {
		*api
		out     watchServerStream
		json    bool // of the gateway: ends with its first cancelled watch
		list    []*watch
		nextID  int64
		stopped bool
	}
)

func (w *watches) Watch(stream watchServerStream) error {
	ctx := stream.Context()
	ws := &watchStream{api: w.api, out: stream, json: fromGateway(ctx)}
	defer func() { ws.watchCount.Add(-int64(len(ws.list))) }()
	requests := make(chan *pb.WatchRequest)
	w.readers.Go(func() { readRequests(stream, requests) })

	// JSON clients cannot ask for it, but need to know: see package comment.
	var leaderless <-chan struct{}
	if ws.json || required(ctx) {
		leaderless = w.leader.gone()
	}
	progress := time.NewTicker(w.progress)
	defer progress.Stop()
	for {
		changed := w.backend.Changed() // before Store
		if err := ws.pump(w.backend.Store()); err != nil {
			return err
		}
		if ws.stopped || requests == nil && len(ws.list) == 0 {
			return nil
		}
		var err error
		select {
		case req, open := <-requests:
			if !open {
				requests = nil // half-closed: watches go on
				continue
			}
			err = ws.handle(req)
		case <-progress.C:
			err = ws.notifyQuiet()
		case <-changed:
		case <-leaderless:
			err = rpctypes.ErrGRPCNoLeader
		case <-w.stopping:
			err = rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			err = toStatus(ctx.Err())
		}
		if err != nil {
			return err
		}
	}
}

// readRequests passes on what the client sends and closes the channel when it has
// nothing more to say. Recv returns at the latest when the stream's handler does.
func readRequests(stream watchServerStream, to chan<- *pb.WatchRequest) {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			close(to)
			return
		}
		if err != nil {
			return // the context of the stream ends too, with the reason
		}
		select {
		case to <- req:
		case <-stream.Context().Done():
			return
		}
	}
}

func (ws *watchStream) handle(req *pb.WatchRequest) error {
	switch r := req.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if r.CreateRequest != nil {
			return ws.create(r.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		if r.CancelRequest != nil {
			return ws.cancel(r.CancelRequest.WatchId)
		}
	case *pb.WatchRequest_ProgressRequest:
		return ws.reportProgress()
	}
	return nil // etcd ignores what it does not know
}

func (ws *watchStream) create(r *pb.WatchCreateRequest) error {
	rev := ws.backend.Store().Revision()
	w, err := newWatch(r, rev)
	if err == nil && r.WatchId != 0 && ws.find(r.WatchId) >= 0 {
		err = errDuplicateWatch
	}
	if err == nil && (len(ws.list) >= ws.limits.WatchesPerStream || ws.watchCount.Load() >= int64(ws.limits.Watches)) {
		err = errTooManyWatches
	}
	if err == nil {
		if err = ws.mayWatch(ws.out.Context(), w.lo, w.hi); err != nil && ws.json {
			return err // by the HTTP status Patroni sees that it needs a token
		}
	}
	if err != nil {
		ws.stopped = ws.json
		return ws.send(&pb.WatchResponse{
			Header: ws.header(rev), WatchId: noWatchID, Created: true, Canceled: true, CancelReason: err.Error(),
		})
	}
	if r.WatchId == 0 {
		for ws.find(ws.nextID) >= 0 {
			ws.nextID++
		}
		w.id = ws.nextID
		ws.nextID++
	}
	ws.list = append(ws.list, w)
	ws.watchCount.Add(1)
	return ws.send(&pb.WatchResponse{Header: ws.header(rev), WatchId: w.id, Created: true})
}

func (ws *watchStream) find(id int64) int {
	return slices.IndexFunc(ws.list, func(w *watch) bool { return w.id == id })
}

// drop forgets the watch at index i. A JSON stream ends with it: Patroni 3.0.2
// ignores a cancelled watch, but not the end of the stream.
func (ws *watchStream) drop(i int) {
	ws.list = slices.Delete(ws.list, i, i+1)
	ws.watchCount.Add(-1)
	ws.stopped = ws.json
}

func (ws *watchStream) cancel(id int64) error {
	i := ws.find(id)
	if i < 0 {
		return nil
	}
	ws.drop(i)
	return ws.send(&pb.WatchResponse{Header: ws.header(ws.backend.Store().Revision()), WatchId: id, Canceled: true})
}

// pump sends to every watch what the state has for it.
func (ws *watchStream) pump(store *kv.Store) error {
	for i := 0; i < len(ws.list); {
		w := ws.list[i]
		err := ws.catchUp(w, store)
		if errors.Is(err, kv.ErrCompacted) {
			ws.drop(i)
			err = ws.send(&pb.WatchResponse{
				Header: ws.header(store.Revision()), WatchId: w.id, Canceled: true, CompactRevision: store.CompactRevision(),
			})
		} else {
			i++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// catchUp sends the events of one watch in messages of whole revisions.
func (ws *watchStream) catchUp(w *watch, store *kv.Store) error {
	if w.next > store.Revision() {
		return nil
	}
	var b batch
	var sendErr error
	err := store.Events(w.next, w.lo, w.hi, func(rev int64, evs []kv.Event) bool {
		b.add(w, evs)
		if b.full() {
			sendErr = ws.flush(w, &b, store.Revision())
			w.next = rev + 1
		}
		return sendErr == nil
	})
	if err != nil {
		return err
	}
	if sendErr == nil {
		sendErr = ws.flush(w, &b, store.Revision())
		w.next = store.Revision() + 1
	}
	return sendErr
}

func (ws *watchStream) flush(w *watch, b *batch, rev int64) error {
	if len(b.events) == 0 {
		return nil
	}
	w.quiet = false
	res := &pb.WatchResponse{Header: ws.header(rev), WatchId: w.id, Events: b.events}
	*b = batch{}
	if !w.fragment {
		return ws.send(res)
	}
	for _, part := range fragments(res, maxRequestBytes) {
		if err := ws.send(part); err != nil {
			return err
		}
	}
	return nil
}

// notifyQuiet tells watches that asked for it, and that had no events since the last
// time, how far they are.
func (ws *watchStream) notifyQuiet() error {
	store := ws.backend.Store()
	if err := ws.pump(store); err != nil {
		return err
	}
	for _, w := range ws.list {
		if w.progress && w.quiet && w.next == store.Revision()+1 {
			if err := ws.send(&pb.WatchResponse{Header: ws.header(store.Revision()), WatchId: w.id}); err != nil {
				return err
			}
		}
		w.quiet = true
	}
	return nil
}

// reportProgress answers a client's question for all of its watches at once. It
// says nothing if a watch begins in the future, since the client would move that
// beginning.
func (ws *watchStream) reportProgress() error {
	store := ws.backend.Store()
	if err := ws.pump(store); err != nil {
		return err
	}
	ahead := func(w *watch) bool { return w.next != store.Revision()+1 }
	if len(ws.list) == 0 || slices.ContainsFunc(ws.list, ahead) {
		return nil
	}
	return ws.send(&pb.WatchResponse{Header: ws.header(store.Revision()), WatchId: noWatchID})
}

func (ws *watchStream) send(res *pb.WatchResponse) error { return ws.out.Send(res) }
