package httpapi

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// Membership changes which witnesses there are. All methods return a
// *witness.Error and may take tens of seconds.
type Membership interface {
	// AddMember takes in a witness that was started to join: first without a
	// vote, and with one as soon as it has the log. It may be repeated.
	AddMember(ctx context.Context, name, peer string) error
	// RemoveMember takes a witness out for good.
	RemoveMember(ctx context.Context, name string) error
	// TransferLeadership makes the named witness the leader, or any other if
	// name is empty.
	TransferLeadership(ctx context.Context, name string) error
}

// memberTime bounds a change of membership; a new witness copies the log in it.
const memberTime = time.Minute

// NewMember names a witness to take in.
type NewMember struct {
	Name string `json:"name" minLength:"1" maxLength:"63" doc:"a name that no witness ever had: not that of one whose disk was lost"`
	Peer string `json:"peer" minLength:"1" maxLength:"255" doc:"host:port of its peer port"`
}

type membersBody struct {
	Meta
	Leader  string       `json:"leader,omitempty"`
	Members []NodeMember `json:"members"`
}

type memberPath struct {
	Name string `path:"name" maxLength:"63"`
}

type leaderInput struct {
	Body struct {
		To string `json:"to,omitempty" maxLength:"63" doc:"the witness that shall lead; without it, any other"`
	}
}

func (a *API) routeMembers(h huma.API) {
	tags := []string{"witnesses"}
	list := func() (*answer[membersBody], error) {
		n := a.b.Node()
		return &answer[membersBody]{membersBody{a.meta(a.b.State()), n.Leader, append([]NodeMember{}, n.Members...)}}, nil
	}
	change := func(ctx context.Context, f func(context.Context, Membership) error) (*answer[membersBody], error) {
		if a.opts.Membership == nil {
			return nil, errorf(witness.CodeNotFound, "this witness stands alone: it has no membership to change")
		}
		ctx, cancel := context.WithTimeout(ctx, memberTime)
		defer cancel()
		if err := f(ctx, a.opts.Membership); err != nil {
			return nil, err
		}
		return list()
	}
	register(a, h, huma.Operation{OperationID: "list-members", Method: "GET", Path: "/v1/members", Summary: "The witnesses", Tags: tags},
		func(ctx context.Context, in *ReadInput) (*answer[membersBody], error) {
			if _, err := a.read(ctx, in.Consistent); err != nil {
				return nil, err
			}
			return list()
		}, nil)
	register(a, h, huma.Operation{OperationID: "add-member", Method: "POST", Path: "/v1/members", Summary: "Take a witness in", Tags: tags},
		func(ctx context.Context, in *answer[NewMember]) (*answer[membersBody], error) {
			return change(ctx, func(ctx context.Context, m Membership) error { return m.AddMember(ctx, in.Body.Name, in.Body.Peer) })
		}, nil)
	register(a, h, huma.Operation{OperationID: "remove-member", Method: "DELETE", Path: "/v1/members/{name}", Summary: "Take a witness out", Tags: tags},
		func(ctx context.Context, in *memberPath) (*answer[membersBody], error) {
			return change(ctx, func(ctx context.Context, m Membership) error { return m.RemoveMember(ctx, in.Name) })
		}, nil)
	register(a, h, huma.Operation{OperationID: "move-leader", Method: "POST", Path: "/v1/leader", Summary: "Let another witness lead", Tags: tags},
		func(ctx context.Context, in *leaderInput) (*answer[membersBody], error) {
			return change(ctx, func(ctx context.Context, m Membership) error { return m.TransferLeadership(ctx, in.Body.To) })
		}, nil)
}
