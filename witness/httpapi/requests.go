package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// RequestBody is what somebody asked for, and how far it is.
type RequestBody struct {
	Meta
	Request *witness.Request `json:"request"`
	Action  *witness.Action  `json:"action,omitempty" doc:"what is done for it, with the evidence"`
	Explain string           `json:"explain,omitempty" doc:"command that shows the whole reason, when it was refused or failed"`
	Preview *witness.Verdict `json:"preview,omitempty" doc:"of a dry run: every rule that was looked at, and the plan that would follow"`
	Would   string           `json:"would,omitempty" doc:"of a dry run: what would happen, in one sentence"`
}

type requestOutput struct {
	Status int
	Body   RequestBody
}

// SwitchoverOrder asks for the holder of a cluster to change in good order.
type SwitchoverOrder struct {
	To       string   `json:"to,omitempty" maxLength:"63" doc:"the member that shall take over; without it, the one with the least lag"`
	By       string   `json:"by" doc:"the person or program that asks"`
	Reason   string   `json:"reason" doc:"why, for the record"`
	Key      string   `json:"key,omitempty" maxLength:"500" doc:"idempotency key"`
	Override []string `json:"override,omitempty" doc:"ids of the rules to override; each must be named"`
	Wait     string   `json:"wait,omitempty" doc:"answer when it is over, or after this time, such as 60s; at most 5m"`
}

type switchoverInput struct {
	Cluster string `path:"cluster" maxLength:"63"`
	Body    SwitchoverOrder
}

type requestInput struct {
	ID   uint64 `path:"id"`
	Wait string `query:"wait" doc:"answer when it is over, or after this time, such as 30s; at most 5m"`
	ReadInput
}

func (a *API) routeRequests(h huma.API) {
	register(a, h, huma.Operation{OperationID: "switchover", Method: "POST", Path: "/v1/clusters/{cluster}/switchover", Summary: "Move a cluster to another member in good order", Tags: []string{"clusters"}},
		func(ctx context.Context, in *switchoverInput) (*requestOutput, error) {
			o := in.Body
			return a.order(ctx, o.Wait, witness.Request{
				Kind: witness.RequestSwitchover, Cluster: in.Cluster, To: o.To, By: o.By, Reason: o.Reason, Key: o.Key, Override: o.Override,
			})
		}, func(in *switchoverInput) string { return in.Cluster })
	register(a, h, huma.Operation{OperationID: "get-request", Method: "GET", Path: "/v1/requests/{id}", Summary: "How far a request is", Tags: []string{"requests"}},
		func(ctx context.Context, in *requestInput) (*answer[RequestBody], error) {
			wait, err := parseWait(in.Wait)
			if err != nil {
				return nil, err
			}
			if _, err = a.read(ctx, in.Consistent); err != nil {
				return nil, err
			}
			body, err := a.await(ctx, in.ID, wait)
			if err != nil {
				return nil, err
			}
			return &answer[RequestBody]{*body}, nil
		}, nil)
}

func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, errorf(witness.CodeInvalid, "wait: %q is not a time from 0s to %s", text, maxWait)
	}
	return d, nil
}

// order proposes a request and waits for its end if asked to. It answers 200
// when the request is done and 202 while it goes on. One that is over without
// success is an error: refused by a rule, or unproven.
func (a *API) order(ctx context.Context, wait string, req witness.Request) (*requestOutput, error) {
	d, err := parseWait(wait)
	if err != nil {
		return nil, err
	}
	res, err := a.propose(ctx, witness.RequestCmd{Request: req})
	if err != nil {
		return nil, err
	}
	body, err := a.await(ctx, res.ID, d)
	if err != nil {
		return nil, err
	}
	return a.outcome(body)
}

// outcome answers how far a request is: 202 as long as it goes on or waits for
// a second person.
func (a *API) outcome(body *RequestBody) (*requestOutput, error) {
	out := &requestOutput{Status: http.StatusAccepted, Body: *body}
	switch r := body.Request; r.Status {
	case witness.StatusDone:
		out.Status = http.StatusOK
	case witness.StatusRefused:
		return nil, a.ended(r, &witness.Error{Code: witness.CodeRefused, Rule: r.Rule, Msg: r.Msg})
	case witness.StatusFailed:
		code := witness.CodeUnproven
		if r.Kind == witness.RequestSwitchover {
			code = witness.CodeConflict
		}
		return nil, a.ended(r, &witness.Error{Code: code, Msg: r.Msg})
	}
	return out, nil
}

// ended words the end of a request without success.
func (a *API) ended(r *witness.Request, err error) error {
	out := a.fail(err, "")
	out.Request, out.Explain = r.ID, a.explain(r)
	return out
}

// explain returns the command that shows why a request ended without success,
// or "".
func (a *API) explain(r *witness.Request) string {
	cluster := r.Cluster
	if cluster == "" {
		cluster = a.clusterOn(r.Host)
	}
	switch {
	case r.Status == witness.StatusFailed && r.Kind == witness.RequestSwitchover:
		return "witnessctl cluster history " + cluster + " --run last"
	case r.Status == witness.StatusFailed:
		return "witnessctl fence status " + r.Host
	case r.Status == witness.StatusRefused && cluster != "":
		return "witnessctl cluster explain " + cluster
	}
	return ""
}

// await returns a request when it is over, or as it is after wait.
func (a *API) await(ctx context.Context, id uint64, wait time.Duration) (*RequestBody, error) {
	if wait > 0 {
		release, err := a.slot()
		if err != nil {
			return nil, err
		}
		defer release()
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := a.b.Changed()
		s := a.b.State()
		r := s.Request(id)
		if r == nil {
			return nil, errorf(witness.CodeNotFound, "there is no request %d, or not any more: the latest are kept, and events tell of older ones", id)
		}
		body := &RequestBody{Meta: a.meta(s), Request: r, Action: s.Action(r.Action)}
		body.Explain = a.explain(r)
		if wait == 0 || !r.Open() || r.Status == witness.StatusApproval { // for a person: that may take long
			return body, nil
		}
		select {
		case <-changed:
		case <-over.C:
			return body, nil
		case <-ctx.Done():
			return body, nil
		}
	}
}

// slot takes one of the places for connections that stay open.
func (a *API) slot() (release func(), err error) {
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	default:
		return nil, errorf(witness.CodeExhausted, "%d requests and event streams are waiting on this witness already; ask another one, or ask without wait", maxStreams)
	}
}
