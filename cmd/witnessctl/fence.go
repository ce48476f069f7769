package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
)

type fencesBody struct {
	httpapi.Meta
	Hosts   []httpapi.HostView `json:"hosts"`
	Actions []*witness.Action  `json:"actions"`
}

func fenceCommand(a *app) *cobra.Command {
	return group("fence", "Power hosts off and on with proof, and see what is fenced",
		"  witnessctl fence status\n  witnessctl fence off db3 --reason 'smoke'",
		fenceStatusCommand(a), fencePowerCommand(a, "off"), fencePowerCommand(a, "on"), fencePowerCommand(a, "reboot"),
		confirmOffCommand(a), approveCommand(a, "approve"), approveCommand(a, "deny"), fenceHistoryCommand(a), fenceTestCommand(a))
}

func fenceStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status [HOST]", Short: "What is fenced, by which devices, and the signs of life of each host",
		Example: "  witnessctl fence status\n  witnessctl fence status db1 -o json",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			var body fencesBody
			if err := a.get(c.Context(), "/v1/fences", nil, &body); err != nil {
				return err
			}
			if len(args) == 1 {
				if err := body.only(args[0]); err != nil {
					return err
				}
			}
			return a.print(body, func(w io.Writer) {
				readOnlyNote(w, &body.Meta)
				writeFences(w, &body)
			})
		},
	}
}

// only keeps one host and its actions.
func (b *fencesBody) only(name string) error {
	host := b.host(name)
	if host == nil {
		return fmt.Errorf("there is no host %q; `witnessctl fence status` lists them", name)
	}
	b.Hosts = []httpapi.HostView{*host}
	kept := []*witness.Action{}
	for _, act := range b.Actions {
		if act.Host == name {
			kept = append(kept, act)
		}
	}
	b.Actions = kept
	return nil
}

func (b *fencesBody) host(name string) *httpapi.HostView {
	for i := range b.Hosts {
		if b.Hosts[i].Name == name {
			return &b.Hosts[i]
		}
	}
	return nil
}

func writeFences(w io.Writer, b *fencesBody) {
	t := &table{head: []string{"Host", "Site", "Runs", "Fenced", "Devices", "Could be fenced by", "Takes", "Silent to"}}
	for i := range b.Hosts {
		h := &b.Hosts[i]
		runs, fenced := "-", "no"
		if h.Member != "" {
			runs = h.Cluster + "/" + h.Member
		}
		switch {
		case h.Pending != nil:
			fenced = h.Pending.Kind + " under way"
		case h.Fenced:
			fenced = fmt.Sprintf("%s for %s", h.Grade, since(h.FencedFor))
		}
		var devices, silent []string
		for _, d := range h.Devices {
			devices = append(devices, fmt.Sprintf("%d: %s (%s)", d.Level, d.Device, d.Driver))
		}
		for _, s := range h.Signals {
			if s.Down {
				silent = append(silent, s.Witness+" ("+s.Kind+")")
			}
		}
		t.add(h.Name, dash(h.Site), runs, fenced, dash(strings.Join(devices, ", ")), fencers(h), took(h.TakesOff), dash(strings.Join(silent, ", ")))
	}
	t.write(w)
	writePaths(w, b)
	if len(b.Actions) == 0 {
		return
	}
	t = &table{head: []string{"Action", "Kind", "Host", "Outcome", "Grade", "By", "Took", "Reason"}}
	for _, act := range b.Actions {
		took := "-"
		if act.Ended > 0 {
			took = since((act.Ended - act.Planned).Seconds())
		}
		t.add(act.ID, act.Kind, act.Host, string(act.Outcome), dash(string(act.Grade)), dash(act.By), took, dash(act.Reason))
	}
	t.write(w)
}

// confirmOff shows what a power-off means and asks for the name of the host.
func (a *app) confirmOff(ctx context.Context, host string) error {
	if !isTerminal(a.stdin) {
		return fmt.Errorf("this cuts the power of %s at once; nobody is here to confirm that: say --yes if you mean it", host)
	}
	var body fencesBody
	if err := a.get(ctx, "/v1/fences", nil, &body); err != nil {
		return err
	}
	h := body.host(host)
	if h == nil {
		return fmt.Errorf("there is no host %q; `witnessctl fence status` lists them", host)
	}
	runs := "it runs no member of a cluster"
	if h.Member != "" {
		runs = fmt.Sprintf("it runs %s of cluster %s", h.Member, h.Cluster)
	}
	fmt.Fprintf(a.err, "This cuts the power of %s at once, without a shutdown; %s.\nType the name of the host to go on: ", host, runs)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && line == "" {
		return fmt.Errorf("not confirmed: %w", err)
	}
	if got := strings.TrimSpace(line); got != host {
		return fmt.Errorf("not confirmed: %q is not %q; nothing is done", got, host)
	}
	return nil
}

func confirmOffCommand(a *app) *cobra.Command {
	var w who
	c := &cobra.Command{
		Use: "confirm-off HOST", Short: "Confirm, by your name, that a host is off",
		Long: `confirm-off records that a named person knows a host to be off, and releases what
waited for that proof. Look at the host first: if it still runs, two hosts may
accept writes. It is refused while the host talks to the witnesses.

` + exitHelp,
		Example: "  witnessctl fence confirm-off db1 --by 'Ann Lee' --reason 'pulled both power cords'",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			w.wait, w.timeout = true, time.Minute
			return a.order(c.Context(), &w, path("hosts", args[0], "confirm-off"), func(key string) any {
				return map[string]string{"by": w.by, "reason": w.reason, "key": key}
			})
		},
	}
	w.flags(c)
	return c
}

// completeHosts offers the names of the hosts.
func (a *app) completeHosts(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(c, args, func(ctx context.Context) ([]string, error) {
		var body fencesBody
		err := a.get(ctx, "/v1/fences", nil, &body)
		names := make([]string, len(body.Hosts))
		for i := range body.Hosts {
			names[i] = body.Hosts[i].Name
		}
		return names, err
	})
}
