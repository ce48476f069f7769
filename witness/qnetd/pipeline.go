package qnetd

import (
	"context"
	"errors"
	"time"

	"quorate/witness"
)

// Bounds of what waits for the log.
const (
	batchMax    = 256              // messages in one entry
	queueMax    = 8192             // messages that wait; a client that adds more is cut off
	answerMax   = 10 * time.Second // an answer that takes longer is none: the client is cut off
	proposeMax  = 4 * time.Second
	proposeWait = 50 * time.Millisecond
)

// pending is a message on its way through the log.
type pending struct {
	op    witness.QnetdOp
	since time.Time
	done  func(r witness.QnetdReply, index uint64, err error) // must not block
}

// pipeline puts the messages of all clients of this witness into the log: those
// that come while an entry is on its way go together into the next.
type pipeline struct {
	s  *Server
	in chan *pending
}

func newPipeline(s *Server) *pipeline {
	return &pipeline{s: s, in: make(chan *pending, queueMax)}
}

var errBusy = errors.New("too many messages wait for the log")

// put queues a message. Messages of one session keep their order.
func (p *pipeline) put(op witness.QnetdOp, done func(witness.QnetdReply, uint64, error)) error {
	select {
	case p.in <- &pending{op: op, since: time.Now(), done: done}:
		return nil
	default:
		return errBusy
	}
}

func (p *pipeline) run(ctx context.Context) error {
	for {
		var batch []*pending
		select {
		case <-ctx.Done():
			return nil
		case first := <-p.in:
			batch = append(batch, first)
		}
		for len(batch) < batchMax {
			select {
			case next := <-p.in:
				batch = append(batch, next)
				continue
			default:
			}
			break
		}
		p.commit(ctx, batch)
	}
}

// commit proposes a batch until its fate is known. Proposing it again is safe:
// messages are numbered, and none counts twice.
func (p *pipeline) commit(ctx context.Context, batch []*pending) {
	cmd := witness.QnetdCmd{Owner: p.s.Node.Name(), Boot: p.s.boot, Ops: make([]witness.QnetdOp, len(batch))}
	for i, m := range batch {
		cmd.Ops[i] = m.op
	}
	p.s.metrics.batch.Observe(float64(len(batch)))
	for {
		pctx, cancel := context.WithTimeout(ctx, proposeMax)
		start := time.Now()
		res, err := p.s.Node.Propose(pctx, cmd)
		cancel()
		if err == nil && len(res.Qnetd) == len(batch) {
			p.s.metrics.commit.Observe(time.Since(start).Seconds())
			for i, m := range batch {
				m.done(res.Qnetd[i], res.Index, nil)
			}
			return
		}
		if err == nil {
			err = errors.New("the log answered something else")
		}
		if ctx.Err() != nil || time.Since(batch[0].since) > answerMax || !errors.Is(err, witness.ErrNoQuorum) {
			p.s.Log.Warn("messages of qdevice clients did not get into the log; their connections end", "messages", len(batch), "err", err)
			for _, m := range batch {
				m.done(witness.QnetdReply{}, 0, err)
			}
			return
		}
		timer := time.NewTimer(proposeWait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}
