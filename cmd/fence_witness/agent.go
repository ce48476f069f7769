package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// agent carries out one action.
type agent struct {
	options
	client *client
	out    io.Writer
	errs   io.Writer
	now    func() time.Time
	node   string // the name of this machine
}

// do carries the action out and returns the exit code.
func (a *agent) do(ctx context.Context) (int, error) {
	view, err := a.look(ctx)
	if err != nil {
		return exitFail, err
	}
	switch a.action {
	case "list", "list-status":
		a.list(view)
		return exitOK, nil
	case "monitor":
		return exitOK, a.monitor(ctx, view)
	}
	host, err := a.find(view, a.plug)
	if err != nil {
		return exitFail, err
	}
	if a.action == "status" {
		if host.Fenced {
			return exitOff, nil
		}
		return exitOK, nil
	}
	return exitOK, a.power(ctx, view, host)
}

// view is the witnesses' knowledge of the hosts, from a quorum.
type view struct {
	httpapi.Meta
	Hosts []httpapi.HostView `json:"hosts"`
}

// look reads the hosts; with a cluster named, only those of its members.
func (a *agent) look(ctx context.Context) (*view, error) {
	var v view
	if err := a.client.get(ctx, "/v1/fences", nil, 0, &v); err != nil {
		return nil, err
	}
	if a.cluster != "" {
		v.Hosts = slices.DeleteFunc(v.Hosts, func(h httpapi.HostView) bool { return h.Cluster != a.cluster })
		if len(v.Hosts) == 0 {
			return nil, fmt.Errorf("the witnesses know no cluster %q with members on hosts of their own; `witnessctl cluster list` shows what they know", a.cluster)
		}
	}
	return &v, nil
}

// name is what Pacemaker calls a host: the member's name, unless two clusters
// have members of that name.
func (v *view) name(h *httpapi.HostView) string {
	if h.Member == "" {
		return h.Name
	}
	for i := range v.Hosts {
		if o := &v.Hosts[i]; o.Name != h.Name && (o.Name == h.Member || o.Member == h.Member) {
			return h.Name
		}
	}
	return h.Member
}

// find returns the host that is meant by the name of a host or of a member.
func (a *agent) find(v *view, name string) (*httpapi.HostView, error) {
	var known []string
	var members []*httpapi.HostView
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if h.Name == name {
			return h, nil
		}
		if h.Member == name {
			members = append(members, h)
		}
		known = append(known, v.name(h))
	}
	switch len(members) {
	case 1:
		return members[0], nil
	case 0:
		return nil, fmt.Errorf("the witnesses know no node %q%s, only: %s; see pcmk_host_map", name, a.within(), strings.Join(known, ", "))
	}
	return nil, fmt.Errorf("%d clusters have a member %q: say which one with cluster=", len(members), name)
}

func (a *agent) within() string {
	if a.cluster == "" {
		return ""
	}
	return " in cluster " + a.cluster
}

func (a *agent) list(v *view) {
	for i := range v.Hosts {
		h := &v.Hosts[i]
		name, alias := v.name(h), ""
		if name != h.Name {
			alias = h.Name
		}
		if a.action == "list" {
			fmt.Fprintf(a.out, "%s,%s\n", name, alias)
			continue
		}
		fmt.Fprintf(a.out, "%s,%s,%s\n", name, alias, state(h))
	}
}

// state is on, off or unknown: off is proven; on means that some witness sees a
// sign of life.
func state(h *httpapi.HostView) string {
	if h.Fenced {
		return "off"
	}
	for _, s := range h.Signals {
		if !s.Down {
			return "on"
		}
	}
	return "unknown"
}

// monitor fails when the witnesses could not fence a node, so that Pacemaker
// shows it before it is needed.
func (a *agent) monitor(ctx context.Context, v *view) error {
	var faults []error
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if len(h.Devices) == 0 && (a.cluster != "" || h.Member != "") {
			faults = append(faults, fmt.Errorf("the witnesses have no device to fence %s with: declare one (`witnessctl apply`)", h.Name))
		}
	}
	if a.cluster != "" {
		if _, err := a.epoch(ctx, a.cluster); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// epoch counts the changes of a cluster's holder.
func (a *agent) epoch(ctx context.Context, cluster string) (uint64, error) {
	var c struct {
		Cluster httpapi.ClusterView `json:"cluster"`
	}
	err := a.client.get(ctx, "/v1/clusters/"+url.PathEscape(cluster), nil, 0, &c)
	return c.Cluster.Epoch, err
}

// explain words the end of a request that did not succeed.
func explain(r *witness.Request, why string) error {
	text := r.Msg
	switch r.Status {
	case witness.StatusRefused:
		text = fmt.Sprintf("refused by rule %s: %s", r.Rule, r.Msg)
	case witness.StatusFailed:
		text = "not proven: " + r.Msg
	}
	if why != "" {
		text += " (why: " + why + ")"
	}
	return errors.New(text)
}
