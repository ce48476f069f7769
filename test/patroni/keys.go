package patroni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"quorate/test/lab"
)

// leaderKey is the key that Patroni's primary holds.
const leaderKey = "/" + namespace + "/" + scope + "/leader"

// KeyEvent is one change of the leader key as one of the store's nodes told it.
type KeyEvent struct {
	At       time.Time
	Endpoint string
	Revision int64
	Leader   string // empty: the key was deleted
}

// KeyWatch follows the leader key on every node of the store, so that neither a
// cut nor a killed node hides a change.
type KeyWatch struct {
	Endpoints []string
	Client    *lab.Host

	mu     sync.Mutex
	events []KeyEvent
}

// Run watches until the context is cancelled, which is not an error.
func (w *KeyWatch) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, endpoint := range w.Endpoints {
		group.Go(func() {
			for ctx.Err() == nil {
				// A broken watch is started again: nodes are killed here.
				if err := w.follow(ctx, endpoint); err != nil && ctx.Err() == nil {
					select {
					case <-ctx.Done():
					case <-time.After(200 * time.Millisecond):
					}
				}
			}
		})
	}
	group.Wait()
	return nil
}

// follow watches one node from its present revision on until that fails.
func (w *KeyWatch) follow(ctx context.Context, endpoint string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := storeClient(w.Client, endpoint)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	getCtx, cancelGet := context.WithTimeout(ctx, 3*time.Second)
	defer cancelGet()
	now, err := client.Get(getCtx, leaderKey, clientv3.WithSerializable())
	if err != nil {
		return err
	}
	for _, kv := range now.Kvs {
		w.add(KeyEvent{Endpoint: endpoint, Revision: kv.ModRevision, Leader: string(kv.Value)})
	}
	for response := range client.Watch(ctx, leaderKey, clientv3.WithRev(now.Header.Revision+1)) {
		if err := response.Err(); err != nil {
			return err
		}
		for _, event := range response.Events {
			e := KeyEvent{Endpoint: endpoint, Revision: event.Kv.ModRevision}
			if event.Type != clientv3.EventTypeDelete {
				e.Leader = string(event.Kv.Value)
			}
			w.add(e)
		}
	}
	return io.ErrUnexpectedEOF
}

func (w *KeyWatch) add(e KeyEvent) {
	e.At = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// Events returns each revision once, as the first node told it, in order.
func (w *KeyWatch) Events() []KeyEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := map[int64]KeyEvent{}
	for _, e := range w.events {
		if known, ok := first[e.Revision]; !ok || e.At.Before(known.At) {
			first[e.Revision] = e
		}
	}
	var events []KeyEvent
	for _, e := range first {
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b KeyEvent) int { return int(a.Revision - b.Revision) })
	return events
}

// ReleasedFrom returns the first event after the given instant in which the key
// was deleted or went to somebody else than the member.
func (w *KeyWatch) ReleasedFrom(member string, since time.Time) (KeyEvent, error) {
	for _, e := range w.Events() {
		if e.At.After(since) && e.Leader != member {
			return e, nil
		}
	}
	return KeyEvent{}, fmt.Errorf("the leader key did not leave %s", member)
}

// storeClient is an etcd client for one node that dials from inside the host.
func storeClient(from *lab.Host, endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, DialTimeout: 3 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(from.DialTCP)},
	})
}
