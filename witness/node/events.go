package node

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/witness"
)

// maxBatches bounds the events that wait for a slow listener.
const maxBatches = 4096

// eventQueue carries events off the goroutine of the state machine.
type eventQueue struct {
	handle  func(index uint64, s *witness.State, evs []witness.Event)
	dropped prometheus.Counter

	mu    sync.Mutex
	queue []batch
	more  chan struct{} // capacity 1: something was queued
}

func newEventQueue(dropped prometheus.Counter) *eventQueue {
	return &eventQueue{more: make(chan struct{}, 1), dropped: dropped}
}

// put queues a batch and never blocks; the oldest goes when the queue is full.
func (q *eventQueue) put(b batch) {
	q.mu.Lock()
	if len(q.queue) >= maxBatches {
		q.queue = q.queue[1:]
		q.dropped.Inc()
	}
	q.queue = append(q.queue, b)
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// run delivers until stop is closed, and then what is still queued.
func (q *eventQueue) run(stop <-chan struct{}) {
	for {
		q.deliver()
		select {
		case <-q.more:
		case <-stop:
			q.deliver()
			return
		}
	}
}

func (q *eventQueue) deliver() {
	for {
		q.mu.Lock()
		todo := q.queue
		q.queue = nil
		q.mu.Unlock()
		if len(todo) == 0 {
			return
		}
		if q.handle == nil {
			continue
		}
		for _, b := range todo {
			q.handle(b.index, b.state, b.events)
		}
	}
}
