package sim

import "time"

// actor is a process that can be paused, crashed and started again. Events of
// an earlier life are void; those of a paused actor wait.
type actor struct {
	life    int
	down    bool
	paused  bool
	waiting []event
}

type event struct {
	at   time.Duration
	seq  uint64
	who  *actor // nil = the world itself
	life int
	fn   func()
}

// after schedules fn in the life of an actor as it is now.
func (w *world) after(d time.Duration, who *actor, fn func()) {
	w.seq++
	ev := event{at: w.now + d, seq: w.seq, who: who, fn: fn}
	if who != nil {
		ev.life = who.life
	}
	w.queue.push(ev)
}

func (a *actor) runs() bool { return !a.down && !a.paused }

func (a *actor) kill() {
	a.life++
	a.down, a.paused, a.waiting = true, false, nil
}

// resume lets everything happen that waited, in its order.
func (w *world) resume(a *actor) {
	if !a.paused {
		return
	}
	a.paused = false
	for _, ev := range a.waiting {
		ev.at = max(ev.at, w.now)
		w.queue.push(ev)
	}
	a.waiting = nil
}

// queue is a binary heap of events by time, then by the order of scheduling.
type queue struct{ heap []event }

func before(a, b *event) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (q *queue) push(ev event) {
	q.heap = append(q.heap, ev)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !before(&q.heap[i], &q.heap[up]) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least, l, r := i, 2*i+1, 2*i+2
		if l < last && before(&q.heap[l], &q.heap[least]) {
			least = l
		}
		if r < last && before(&q.heap[r], &q.heap[least]) {
			least = r
		}
		if least == i {
			return top, true
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
