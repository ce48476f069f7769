package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// RoleInput asks who has a role.
type RoleInput struct {
	Cluster string `path:"cluster" maxLength:"63"`
	Role    string `path:"role" enum:"primary,replica"`
	Member  string `query:"member" doc:"ask about this member; without it, about any"`
	Lag     int64  `query:"lag" minimum:"0" doc:"most bytes of WAL that a replica may be behind; 0 for any"`
	MaxAge  string `query:"max_age" doc:"answer 503 when the state may be older, such as 30s; without it the cluster's max_stale holds"`
}

type roleMemberInput struct {
	RoleInput
	Path string `path:"member" maxLength:"63"`
}

// RoleAnswer says who has a role. Its HTTP status is what load balancers look
// at: 200 for yes, 503 for no.
type RoleAnswer struct {
	Meta
	Cluster string   `json:"cluster"`
	Role    string   `json:"role"`
	Yes     bool     `json:"yes"`
	Members []string `json:"members" doc:"who has the role now"`
	Epoch   uint64   `json:"epoch"`
	Text    string   `json:"text" doc:"why"`
}

type roleOutput struct {
	Status int
	Body   RoleAnswer
}

func (a *API) routeRoles(h huma.API) {
	const summary = "200 when the member, or any member, has the role and its host is not fenced; 503 otherwise"
	register(a, h, huma.Operation{OperationID: "cluster-role", Method: "GET", Path: "/v1/clusters/{cluster}/role/{role}", Summary: summary, Tags: []string{"load balancers"}},
		func(_ context.Context, in *RoleInput) (*roleOutput, error) { return a.role(in) },
		func(in *RoleInput) string { return in.Cluster })
	register(a, h, huma.Operation{OperationID: "member-role", Method: "GET", Path: "/v1/clusters/{cluster}/role/{role}/{member}", Summary: summary, Tags: []string{"load balancers"}},
		func(_ context.Context, in *roleMemberInput) (*roleOutput, error) {
			in.Member = in.Path
			return a.role(&in.RoleInput)
		},
		func(in *roleMemberInput) string { return in.Cluster })
	// HAProxy's option httpchk asks with OPTIONS.
	asGet := func(w http.ResponseWriter, r *http.Request) {
		get := r.Clone(r.Context())
		get.Method = http.MethodGet
		a.mux.ServeHTTP(w, get)
	}
	a.mux.HandleFunc("OPTIONS /v1/clusters/{cluster}/role/{role}", asGet)
	a.mux.HandleFunc("OPTIONS /v1/clusters/{cluster}/role/{role}/{member}", asGet)
}

// role answers from the local state, however old, unless a limit on its age is
// set: a witness that is cut off must not take down a healthy primary.
func (a *API) role(in *RoleInput) (*roleOutput, error) {
	s := a.b.State()
	c := s.Cluster(in.Cluster)
	if c == nil {
		return nil, errorf(witness.CodeNotFound, "there is no cluster %q", in.Cluster)
	}
	limit := time.Duration(c.Spec.MaxStale)
	if in.MaxAge != "" {
		var err error
		if limit, err = time.ParseDuration(in.MaxAge); err != nil {
			return nil, errorf(witness.CodeInvalid, "max_age: %q is not a duration: write a number with a unit, such as 30s", in.MaxAge)
		}
	}
	out := RoleAnswer{Meta: a.meta(s), Cluster: c.Name, Role: in.Role, Members: []string{}, Epoch: c.Epoch}
	for _, m := range members(s, c) {
		has := m.Role == in.Role && !m.Fenced
		if in.Role == RolePrimary {
			has = has && c.Guard == nil
		} else {
			has = has && m.Ready && (in.Lag == 0 || m.Lag != nil && *m.Lag <= in.Lag)
		}
		if has {
			out.Members = append(out.Members, m.Name)
			out.Yes = out.Yes || in.Member == "" || in.Member == m.Name
		}
	}
	// The holder counts from its grant on, even before its member key is there.
	if in.Role == RolePrimary && c.Quorum == nil && c.Holder != "" && c.Guard == nil && c.MemberNamed(c.Holder) == nil && !s.Host(c.HolderHost).Fenced {
		out.Members = append(out.Members, c.Holder)
		out.Yes = out.Yes || in.Member == "" || in.Member == c.Holder
	}
	out.Text = roleText(c, in, &out)
	if n := a.b.Node(); limit > 0 && !n.Quorum && n.Contact > limit {
		out.Yes = false
		out.Text = fmt.Sprintf("the state is %s old and may be at most %s", ago(n.Contact), limit)
	}
	code := http.StatusOK
	if !out.Yes {
		code = http.StatusServiceUnavailable
	}
	return &roleOutput{Status: code, Body: out}, nil
}

func roleText(c *witness.Cluster, in *RoleInput, out *RoleAnswer) string {
	switch {
	case out.Yes && in.Member != "":
		return fmt.Sprintf("%s is %s of %s", in.Member, in.Role, c.Name)
	case out.Yes:
		return fmt.Sprintf("%s has a %s", c.Name, in.Role)
	case in.Role == RolePrimary && c.Guard != nil:
		return fmt.Sprintf("the lease of %s is dead and nobody else is granted %s yet", c.Holder, c.Name)
	case in.Role == RolePrimary && c.Holder == "":
		return fmt.Sprintf("nobody holds %s", c.Name)
	case in.Member != "":
		return fmt.Sprintf("%s is not a %s of %s that may be used", in.Member, in.Role, c.Name)
	}
	return fmt.Sprintf("%s has no %s that may be used", c.Name, in.Role)
}
