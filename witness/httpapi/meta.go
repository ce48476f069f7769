package httpapi

import (
	"context"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

var errorType = reflect.TypeFor[Error]()

// Meta says where an answer comes from and how old it may be.
type Meta struct {
	Node     string  `json:"node" doc:"the witness that answers"`
	Index    uint64  `json:"index" doc:"log index of the state that is shown"`
	Age      float64 `json:"age" doc:"seconds since this witness had contact with a quorum"`
	ReadOnly bool    `json:"read_only" doc:"without contact to a quorum: writes are refused, reads may be out of date"`
}

func (a *API) meta(s *witness.State) Meta {
	n := a.b.Node()
	return Meta{Node: n.Name, Index: s.Index, Age: seconds(n.Contact), ReadOnly: !n.Quorum}
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// ReadInput is part of every read. It is exported because the framework sees
// only the parameters of exported embedded types.
type ReadInput struct {
	Consistent bool `query:"consistent" doc:"ask a quorum first, so that the answer holds everything that anybody was told before"`
}

// read returns the state to answer from.
func (a *API) read(ctx context.Context, consistent bool) (*witness.State, error) {
	if consistent {
		ctx, cancel := context.WithTimeout(ctx, proposeTime)
		defer cancel()
		if err := a.b.Barrier(ctx); err != nil {
			return nil, err
		}
	}
	return a.b.State(), nil
}

// propose commits a command on behalf of a client and waits until its effect
// is in the local state too.
func (a *API) propose(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	if n := a.b.Node(); !n.Quorum {
		return witness.Result{}, errorf(witness.CodeNoQuorum,
			"this witness is read-only: its last contact with a quorum was %s ago; ask another witness, or see `witnessctl status` on each of them", ago(n.Contact))
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	res, err := a.b.Propose(ctx, cmd)
	if err == nil && res.Err != nil {
		err = res.Err
	}
	for s := a.b.State(); err == nil && s.Index < res.Index; s = a.b.State() {
		changed := a.b.Changed()
		if a.b.State().Index >= res.Index {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return res, err
}

// ago words an age; a very long one means never.
func ago(d time.Duration) string {
	if d > 10*365*24*time.Hour {
		return "longer than it runs"
	}
	return d.Round(100 * time.Millisecond).String()
}

// register adds an operation whose errors become [Error] bodies. subject, which
// may be nil, names the cluster that an error is about.
func register[I, O any](a *API, h huma.API, op huma.Operation, f func(context.Context, *I) (*O, error), subject func(*I) string) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	op.BodyReadTimeout = -1 // the body is here; a deadline would end the waiting requests
	op.Responses = map[string]*huma.Response{"default": errorResponse(h)}
	huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			about := ""
			if subject != nil {
				about = subject(in)
			}
			return nil, a.fail(err, about)
		}
		return out, nil
	})
}

// answer is a JSON body.
type answer[T any] struct{ Body T }
