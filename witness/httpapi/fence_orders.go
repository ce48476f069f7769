package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quorate/witness"
)

// FenceOrder asks for a host to be powered off or on, or off and on.
type FenceOrder struct {
	Op        string   `json:"op" enum:"off,on,reboot"`
	Host      string   `json:"host" maxLength:"63"`
	By        string   `json:"by" doc:"the person or program that asks"`
	Reason    string   `json:"reason" doc:"why, for the record"`
	Requester string   `json:"requester,omitempty" maxLength:"200" doc:"host, address or member on whose behalf a program asks; refused if it does not hold the vote of its cluster"`
	Key       string   `json:"key,omitempty" maxLength:"500" doc:"idempotency key: the same key is the same order, however often it is sent"`
	Override  []string `json:"override,omitempty" maxItems:"20" doc:"ids of the rules to override; each must be named"`
	Wait      string   `json:"wait,omitempty" doc:"answer when it is over, or after this time, such as 90s; at most 5m"`
	Timeout   string   `json:"timeout,omitempty" doc:"give the order up if it is not over after this time, such as 60s; at most 24h"`
	DryRun    bool     `json:"dry_run,omitempty" doc:"say what would happen, rule by rule, and change nothing"`
}

// request returns the order as the state machine takes it.
func (o *FenceOrder) request() (witness.Request, error) {
	r := witness.Request{Kind: "fence-" + o.Op, Host: o.Host, By: o.By, Reason: o.Reason, Requester: o.Requester, Key: o.Key, Override: o.Override}
	if o.Op == "reboot" {
		r.Kind = witness.RequestReboot
	}
	for _, rule := range o.Override {
		if !slices.Contains(witness.Overridable, rule) {
			return r, errorf(witness.CodeInvalid, "override: %q is no rule that an order may override; those are %s", rule, strings.Join(witness.Overridable, ", "))
		}
	}
	if o.Timeout != "" {
		d, err := time.ParseDuration(o.Timeout)
		if err != nil || d <= 0 || d > 24*time.Hour {
			return r, errorf(witness.CodeInvalid, "timeout: %q is not a time above 0s and up to 24h", o.Timeout)
		}
		r.Timeout = d
	}
	return r, nil
}

// ApprovalOrder is the word of a second person.
type ApprovalOrder struct {
	By     string `json:"by" doc:"the person who agrees, or does not; another one than who asked"`
	Reason string `json:"reason" doc:"why, for the record"`
	Wait   string `json:"wait,omitempty" doc:"answer when it is over, or after this time, such as 90s; at most 5m"`
}

type approvalInput struct {
	ID   uint64 `path:"id"`
	Body ApprovalOrder
}

// FenceRecord is one power action with the request that led to it, if any did.
type FenceRecord struct {
	Action  *witness.Action  `json:"action"`
	Request *witness.Request `json:"request,omitempty"`
}

type fenceHistoryBody struct {
	Meta
	Records []FenceRecord `json:"records" doc:"newest first"`
}

// FenceTest is what one witness found out about the fence devices of a host.
type FenceTest struct {
	Host    string       `json:"host"`
	State   string       `json:"state" doc:"power state of the host, as far as its devices agree"`
	Devices []DeviceTest `json:"devices"`
}

// DeviceTest is one device's part of it.
type DeviceTest struct {
	Device   string   `json:"device"`
	Level    int      `json:"level"`
	Ready    bool     `json:"ready" doc:"whether a power-off by it is expected to work"`
	State    string   `json:"state"`
	Faults   []string `json:"faults" doc:"each keeps it from being ready"`
	Warnings []string `json:"warnings" doc:"each deserves attention"`
	Took     float64  `json:"took" doc:"seconds"`
}

type fenceTestBody struct {
	Meta
	Test FenceTest `json:"test"`
}

// fenceTestTime bounds one test: it is longer than what a device is given.
const fenceTestTime = 15 * time.Second

func (a *API) routeFenceOrders(h huma.API) {
	type testInput struct {
		Host string `path:"host" maxLength:"63"`
	}
	register(a, h, huma.Operation{OperationID: "fence-test", Method: "POST", Path: "/v1/hosts/{host}/fence-test", Summary: "Ask the fence devices of a host, from this witness, whether they could power it off now; changes nothing", Tags: []string{"fencing"}},
		func(ctx context.Context, in *testInput) (*answer[fenceTestBody], error) {
			if a.opts.FenceTest == nil {
				return nil, errorf(witness.CodeInvalid, "this witness has no fence drivers")
			}
			release, err := a.slot()
			if err != nil {
				return nil, err
			}
			defer release()
			ctx, cancel := context.WithTimeout(ctx, fenceTestTime)
			defer cancel()
			res, err := a.opts.FenceTest(ctx, in.Host)
			if err != nil {
				return nil, err
			}
			return &answer[fenceTestBody]{fenceTestBody{a.meta(a.b.State()), res}}, nil
		}, func(in *testInput) string { return a.clusterOn(in.Host) })
	tags := []string{"fencing"}
	register(a, h, huma.Operation{OperationID: "fence", Method: "POST", Path: "/v1/fences", Summary: "Power a host off or on, with proof", Tags: tags},
		func(ctx context.Context, in *answer[FenceOrder]) (*requestOutput, error) {
			r, err := in.Body.request()
			if err != nil {
				return nil, err
			}
			if in.Body.DryRun {
				return a.preview(r)
			}
			return a.order(ctx, in.Body.Wait, r)
		}, func(in *answer[FenceOrder]) string { return a.clusterOn(in.Body.Host) })
	for _, deny := range []bool{false, true} {
		verb, summary := "approve", "Agree to a request as a second person"
		if deny {
			verb, summary = "deny", "Refuse a request that waits for a second person"
		}
		register(a, h, huma.Operation{OperationID: verb, Method: "POST", Path: "/v1/requests/{id}/" + verb, Summary: summary, Tags: []string{"requests"}},
			func(ctx context.Context, in *approvalInput) (*requestOutput, error) { return a.agree(ctx, in, deny) }, nil)
	}
	register(a, h, huma.Operation{OperationID: "fence-history", Method: "GET", Path: "/v1/fences/history", Summary: "Power actions of the past: who asked, why, by which rule, with what proof", Tags: tags},
		func(ctx context.Context, in *struct {
			Host  string `query:"host" maxLength:"63" doc:"of this host only"`
			Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
			ReadInput
		},
		) (*answer[fenceHistoryBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[fenceHistoryBody]{fenceHistoryBody{a.meta(s), fenceHistory(s, in.Host, in.Limit)}}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "follow-fence", Method: "GET", Path: "/v1/fences/{id}/events", Summary: "What happens about one order or action, as server-sent events until it is over", Tags: tags},
		func(_ context.Context, in *struct {
			ID string `path:"id" maxLength:"40" doc:"number of a request, or id of an action"`
		},
		) (*huma.StreamResponse, error) {
			f := follow{id: in.ID}
			if f.request, f.action = find(a.b.State(), in.ID); f.request == nil && f.action == nil {
				return nil, noFence(in.ID)
			}
			release, err := a.slot()
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(ctx huma.Context) {
				defer release()
				r, w := humago.Unwrap(ctx)
				a.streamWhere(r.Context(), w, 1, f.concerns, f.over)
			}}, nil
		}, nil)
}

// preview answers a dry run.
func (a *API) preview(r witness.Request) (*requestOutput, error) {
	v := a.b.View()
	ver, refused := witness.Preview(v, r)
	if refused != nil {
		return nil, refused
	}
	return &requestOutput{Status: http.StatusOK, Body: RequestBody{Meta: a.meta(v.State), Request: &r, Preview: &ver, Would: describe(&v, &ver)}}, nil
}

func (a *API) agree(ctx context.Context, in *approvalInput, deny bool) (*requestOutput, error) {
	wait, err := parseWait(in.Body.Wait)
	if err != nil {
		return nil, err
	}
	if _, err := a.propose(ctx, witness.Approve{Request: in.ID, By: in.Body.By, Reason: in.Body.Reason, Deny: deny}); err != nil {
		return nil, err
	}
	body, err := a.await(ctx, in.ID, wait)
	if err != nil {
		return nil, err
	}
	if deny { // that it is refused is what was wanted
		return &requestOutput{Status: http.StatusOK, Body: *body}, nil
	}
	return a.outcome(body)
}

// fenceHistory joins the kept power actions with the requests behind them.
func fenceHistory(s *witness.State, host string, limit int) []FenceRecord {
	out := []FenceRecord{}
	for _, act := range s.Actions() {
		if strings.HasPrefix(act.Kind, "fence-") && (host == "" || act.Host == host) {
			out = append(out, FenceRecord{Action: act, Request: s.Request(act.Request)})
		}
	}
	slices.Reverse(out)
	return out[:min(limit, len(out))]
}

// find returns what an id stands for: an action, or a request and its action.
func find(s *witness.State, id string) (*witness.Request, *witness.Action) {
	if act := s.Action(id); act != nil {
		return s.Request(act.Request), act
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return nil, nil
	}
	r := s.Request(n)
	if r == nil {
		return nil, nil
	}
	return r, s.Action(r.Action)
}

func noFence(id string) error {
	return errorf(witness.CodeNotFound, "there is no action and no request %q, or not any more: the latest are kept", id)
}

// follow is one order whose events are sent.
type follow struct {
	id      string
	request *witness.Request
	action  *witness.Action
}

func (f *follow) concerns(s *witness.State, ev *witness.Event) bool {
	if f.request != nil && ev.Request == f.request.ID {
		return true
	}
	if ev.Action == "" {
		return false
	}
	if f.request != nil { // an action that this request shares with another one
		r := s.Request(f.request.ID)
		return r != nil && (ev.Action == r.Action || ev.Action == r.Off)
	}
	return ev.Action == f.id
}

func (f *follow) over(s *witness.State) bool {
	if f.request != nil {
		r := s.Request(f.request.ID)
		return r == nil || !r.Open()
	}
	act := s.Action(f.id)
	return act == nil || act.Outcome != witness.Pending
}

// describe says in one line how a dry run would end.
func describe(v *witness.View, ver *witness.Verdict) string {
	p := ver.Plan
	switch {
	case p == nil:
		return ver.Sentence
	case p.Refuse:
		return fmt.Sprintf("it would be refused by rule %s: %s", p.Rule, p.Why)
	case p.Await:
		return "it would wait for a second person"
	case p.Join != "":
		return "it would share action " + p.Join + ", which is under way"
	}
	if len(p.Actions) > 0 {
		item := p.Actions[0]
		by := item.Executor
		if by == "" || len(v.Alive) > 0 && by == v.Alive[0] { // in its own view the one that is asked stands in the leader's place
			by = "the leader"
		}
		return fmt.Sprintf("%s of %s would be done by %s", item.Kind, item.Host, by)
	}
	return ver.Sentence
}
