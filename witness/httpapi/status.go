package httpapi

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// The rungs of the protection ladder: how much the witnesses can still lose.
const (
	Protected      = "protected"        // at least one more may fail
	OneMoreFailure = "one more failure" // the next failure stops decisions
	Unprotected    = "unprotected"      // no majority: nothing is decided
)

// StatusBody is the witness cluster at a glance.
type StatusBody struct {
	Meta
	Protection string            `json:"protection" enum:"protected,one more failure,unprotected"`
	Text       string            `json:"text" doc:"the protection in one sentence"`
	Site       string            `json:"site,omitempty"`
	Version    string            `json:"version"`
	Role       string            `json:"role" doc:"of the witness that answers"`
	Leader     string            `json:"leader,omitempty"`
	Term       uint64            `json:"term"`
	ClusterID  string            `json:"cluster_id" doc:"identity of the witness cluster"`
	Digest     string            `json:"digest" doc:"fingerprint of the state: equal on witnesses with the same index"`
	Config     uint64            `json:"config_version"`
	LastEvent  uint64            `json:"last_event" doc:"sequence number of the newest event"`
	Members    []NodeMember      `json:"members"`
	Clusters   map[string]int    `json:"clusters" doc:"how many clusters are in which state"`
	Attention  []Attention       `json:"attention" doc:"what is not as it should be"`
	Pending    []*witness.Action `json:"pending" doc:"actions that wait for an executor"`
}

// Attention is something that a person should know of.
type Attention struct {
	Cluster string `json:"cluster,omitempty"`
	Host    string `json:"host,omitempty"`
	Text    string `json:"text"`
}

// maxAttention bounds the list in the status; the cluster list has them all.
const maxAttention = 100

func (a *API) routeStatus(h huma.API) {
	register(a, h, huma.Operation{OperationID: "status", Method: "GET", Path: "/v1/status", Summary: "The witnesses, and what needs attention", Tags: []string{"witnesses"}},
		func(ctx context.Context, in *ReadInput) (*answer[StatusBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[StatusBody]{a.status(s)}, nil
		}, nil)
}

func (a *API) status(s *witness.State) StatusBody {
	n := a.b.Node()
	out := StatusBody{
		Meta: a.meta(s), Site: n.Site, Version: n.Version, Role: n.Role, Leader: n.Leader, Term: n.Term,
		ClusterID: fmt.Sprintf("%016x", s.ClusterID), Digest: fmt.Sprintf("%016x", s.Digest()),
		Config: s.ConfigVersion, LastEvent: s.LastEvent(), Members: n.Members,
		Clusters: map[string]int{StateOK: 0, StateGuarded: 0, StateHeld: 0, StateVacant: 0}, Attention: []Attention{},
		Pending: s.PendingActions(),
	}
	out.Protection, out.Text = ladder(n)
	if out.Members == nil {
		out.Members = []NodeMember{}
	}
	if out.Pending == nil {
		out.Pending = []*witness.Action{}
	}
	v := a.view(s)
	for id, r := range s.Requests() {
		if r.Status == witness.StatusApproval && len(out.Attention) < maxAttention {
			out.Attention = append(out.Attention, Attention{Cluster: a.clusterOn(r.Host), Host: r.Host, Text: fmt.Sprintf(
				"request %d of %s, %s of %s, waits for a second person: %s; `witnessctl fence approve %d`", id, r.By, r.Kind, r.Host, r.Reason, id)})
		}
	}
	for _, host := range s.Unfenceable() {
		if len(out.Attention) < maxAttention {
			out.Attention = append(out.Attention, Attention{Cluster: a.clusterOn(host), Host: host, Text: host + " could not be powered off now by any witness that has looked; `witnessctl fence status " + host + "` says why"})
		}
	}
	for name, c := range s.Clusters() {
		state := clusterState(c)
		out.Clusters[state]++
		if len(out.Attention) >= maxAttention {
			continue
		}
		if c.Quorum != nil && c.Quorum.NotVoting != "" {
			out.Attention = append(out.Attention, Attention{Cluster: name, Text: "its quorum device gives no full vote: " + c.Quorum.NotVoting})
			continue
		}
		if c.Quorum != nil && (state == StateOK || state == StateVacant) {
			continue // what is missing becomes an alert after a while
		}
		if state == StateGuarded || state == StateHeld || state == StateVacant && c.Last != "" {
			out.Attention = append(out.Attention, Attention{Cluster: name, Host: c.HolderHost, Text: witness.Judge(v, name).Sentence})
		} else if p := protection(s, c, members(s, c)); p == ProtectionNoCandidate {
			out.Attention = append(out.Attention, Attention{Cluster: name, Text: "no member of " + name + " could take over from " + c.Holder})
		}
	}
	return out
}

// ladder says how many witnesses may still fail.
func ladder(n NodeInfo) (rung, text string) {
	voters, alive := 0, 0
	for _, m := range n.Members {
		if m.Voter {
			voters++
			if m.Alive {
				alive++
			}
		}
	}
	spare := alive - (voters/2 + 1)
	switch {
	case !n.Quorum:
		return Unprotected, fmt.Sprintf("unprotected: %s has had no contact to a majority of the %d witnesses for %s, so nothing is decided here", n.Name, voters, ago(n.Contact))
	case spare < 0:
		return Unprotected, fmt.Sprintf("unprotected: only %d of %d witnesses are alive, which is no majority", alive, voters)
	case spare == 0:
		return OneMoreFailure, fmt.Sprintf("one more failure stops all decisions: %d of %d witnesses are alive", alive, voters)
	}
	return Protected, fmt.Sprintf("protected: %d of %d witnesses are alive, %d more may fail", alive, voters, spare)
}
