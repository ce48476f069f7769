package httpapi

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// HostView is a host as the API shows it.
type HostView struct {
	Name      string           `json:"name"`
	Site      string           `json:"site,omitempty"`
	Addresses []string         `json:"addresses"`
	Cluster   string           `json:"cluster,omitempty"`
	Member    string           `json:"member,omitempty"`
	Fenced    bool             `json:"fenced" doc:"proven or confirmed off, and not seen on since"`
	Grade     witness.Grade    `json:"grade,omitempty" doc:"how that is known"`
	FencedFor float64          `json:"fenced_for,omitempty" doc:"seconds of cluster time since the proof"`
	Devices   []DeviceView     `json:"devices"`
	Signals   []witness.Signal `json:"signals" doc:"signs of life, as each witness last reported them"`

	Fenceable string              `json:"fenceable" enum:"yes,no,unknown" doc:"whether any witness could power it off now, as they have reported"`
	Fencers   []string            `json:"fencers" doc:"the witnesses that could"`
	Paths     []witness.FencePath `json:"paths" doc:"what each witness last reported of each device"`
	TakesOff  float64             `json:"takes_off,omitempty" doc:"seconds that a power-off of it usually takes until it is proven"`
	Warnings  []string            `json:"warnings" doc:"what one failure would take from it, as far as declared, and what the witness that answers found when it last looked"`
	Pending   *witness.Action     `json:"pending,omitempty" doc:"the action under way"`
}

// DeviceView is a fence device of a host, without its settings.
type DeviceView struct {
	Level  int    `json:"level"`
	Device string `json:"device"`
	Driver string `json:"driver"`
}

type fencesBody struct {
	Meta
	Hosts   []HostView        `json:"hosts"`
	Actions []*witness.Action `json:"actions" doc:"the latest, newest last"`
}

type actionBody struct {
	Meta
	Action  *witness.Action  `json:"action,omitempty" doc:"absent while a request has none yet"`
	Request *witness.Request `json:"request,omitempty" doc:"that led to it"`
}

// maxActions is how many actions are listed.
const maxActions = 50

func (a *API) routeFences(h huma.API) {
	tags := []string{"fencing"}
	register(a, h, huma.Operation{OperationID: "list-fences", Method: "GET", Path: "/v1/fences", Summary: "All hosts: what is fenced, by what, and why", Tags: tags},
		func(ctx context.Context, in *ReadInput) (*answer[fencesBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[fencesBody]{fencesBody{a.meta(s), a.hosts(s), actions(s)}}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "get-fence", Method: "GET", Path: "/v1/fences/{id}", Summary: "One action with its evidence, by its id or by the number of the request", Tags: tags},
		func(ctx context.Context, in *struct {
			ID string `path:"id" maxLength:"40"`
			ReadInput
		},
		) (*answer[actionBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			r, act := find(s, in.ID)
			if r == nil && act == nil {
				return nil, noFence(in.ID)
			}
			return &answer[actionBody]{actionBody{a.meta(s), act, r}}, nil
		}, nil)
	type confirmInput struct {
		Host string `path:"host" maxLength:"63"`
		Body struct {
			By     string `json:"by" doc:"the person who has seen that it is off"`
			Reason string `json:"reason" doc:"how they know"`
			Key    string `json:"key,omitempty" maxLength:"500" doc:"idempotency key"`
		}
	}
	register(a, h, huma.Operation{OperationID: "confirm-off", Method: "POST", Path: "/v1/hosts/{host}/confirm-off", Summary: "A named person confirms that a host is off", Tags: tags},
		func(ctx context.Context, in *confirmInput) (*requestOutput, error) {
			return a.order(ctx, "", witness.Request{
				Kind: witness.RequestConfirmOff, Host: in.Host, By: in.Body.By, Reason: in.Body.Reason, Key: in.Body.Key,
			})
		}, func(in *confirmInput) string { return a.clusterOn(in.Host) })
}

func (a *API) clusterOn(host string) string {
	cluster, _, _ := a.b.State().MemberOn(host)
	return cluster
}

func (a *API) hosts(s *witness.State) []HostView {
	pending := map[string]*witness.Action{}
	for _, act := range s.PendingActions() {
		pending[act.Host] = act
	}
	risks := s.Config.Risks()
	driver := map[string]string{}
	for _, d := range s.Config.Devices {
		driver[d.Name] = d.Driver
	}
	out := make([]HostView, 0, len(s.Config.Hosts))
	for i := range s.Config.Hosts {
		spec := &s.Config.Hosts[i]
		st := s.Host(spec.Name)
		hv := HostView{
			Name: spec.Name, Site: spec.Site, Addresses: spec.Addresses, Fenced: st.Fenced,
			Devices: []DeviceView{}, Signals: st.Signals, Pending: pending[spec.Name],
		}
		hv.Cluster, hv.Member, _ = s.MemberOn(spec.Name)
		if st.Fenced {
			hv.Grade, hv.FencedFor = st.Grade, seconds(s.Now-st.FencedAt)
		}
		hv.Fenceable, hv.Fencers, hv.Paths = fenceable(s, spec), append([]string{}, s.Fencers(spec.Name)...), append([]witness.FencePath{}, st.Paths...)
		hv.TakesOff, hv.Warnings = seconds(st.Baseline()), append([]string{}, risks[spec.Name]...)
		if a.opts.FenceWarnings != nil {
			hv.Warnings = append(hv.Warnings, a.opts.FenceWarnings(spec.Name)...)
		}
		if hv.Signals == nil {
			hv.Signals = []witness.Signal{}
		}
		for _, f := range spec.Fence {
			hv.Devices = append(hv.Devices, DeviceView{f.Level, f.Device, driver[f.Device]})
		}
		out = append(out, hv)
	}
	return out
}

// fenceable says whether a host could be powered off now: unknown as long as
// no witness has found a level ready, and not all have found none.
func fenceable(s *witness.State, host *witness.Host) string {
	switch {
	case len(s.Fencers(host.Name)) > 0:
		return witness.ReadyYes
	case s.NobodyCan(host.Name) || len(host.Fence) == 0:
		return witness.ReadyNo
	}
	return witness.ReadyUnknown
}

// actions returns the latest power actions; the ids are in the order of time.
func actions(s *witness.State) []*witness.Action {
	out := []*witness.Action{}
	for _, act := range s.Actions() {
		if strings.HasPrefix(act.Kind, "fence-") {
			out = append(out, act)
		}
	}
	return out[max(0, len(out)-maxActions):]
}
