package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// powerFlags are those of the commands that switch a host.
type powerFlags struct {
	who
	yes, dryRun bool
	requester   string
	within      time.Duration
}

func (p *powerFlags) order(op, host, key string) httpapi.FenceOrder {
	o := httpapi.FenceOrder{
		Op: op, Host: host, By: p.by, Reason: p.reason, Requester: p.requester, Key: key, Override: p.override, DryRun: p.dryRun,
	}
	if p.within > 0 {
		o.Timeout = p.within.String()
	}
	return o
}

func fencePowerCommand(a *app, op string) *cobra.Command {
	var p powerFlags
	cuts := op != "on" // the power of a running machine
	c := &cobra.Command{
		Use: op + " HOST", Short: "Power a host " + op + " and wait for the proof",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			if err := p.check(); err != nil {
				return err
			}
			if cuts && !p.yes && !p.dryRun {
				if err := a.confirmOff(c.Context(), args[0]); err != nil {
					return err
				}
			}
			return a.order(c.Context(), &p.who, "/v1/fences", func(key string) any { return p.order(op, args[0], key) })
		},
	}
	p.flags(c)
	p.waitFlags(c, 3*time.Minute)
	c.Flags().BoolVar(&p.dryRun, "dry-run", false, "say what would happen, rule by rule, and change nothing")
	c.Flags().StringVar(&p.requester, "requester", "", "host or member on whose behalf a program asks; refused if it does not hold the vote")
	c.Flags().DurationVar(&p.within, "within", 0, "give the order up if it is not over by then (default: never)")
	if cuts {
		c.Flags().BoolVar(&p.yes, "yes", false, "do not ask to type the name of the host")
	}
	switch op {
	case "off":
		c.Long = `fence off cuts the power of a host at once, without a shutdown, and reads back
that it is off. It is refused, by a rule that the message names, for the host of
a living holder, for more than half of a cluster, and for a host that was powered
off too often lately. Where the policy of the cluster wants a second person, it
ends with exit code 3 and goes on with ` + "`fence approve`" + `.

` + exitHelp
		c.Example = "  witnessctl fence off db3 --by anna --reason 'smoke in rack 7'\n  witnessctl fence off db3 --reason 'monitoring' --yes --timeout 1m\n  witnessctl fence off db3 --reason test --dry-run"
	case "reboot":
		c.Short = "Power a host off, wait for the proof, and power it on again"
		c.Long = `fence reboot is off, proven, on; never the restart command of a device, which
cannot be verified. The rules are those of fence off. If the host is off and does
not come back, the command has succeeded and says so: look at the host.

` + exitHelp
		c.Example = "  witnessctl fence reboot db3 --by anna --reason 'hangs since noon'"
	default:
		c.Long = `fence on gives a host its power back. It is refused while a cluster waits for the
proof that this host is off.

` + exitHelp
		c.Example = "  witnessctl fence on db3 --by anna --reason 'new power supply'"
	}
	return c
}

// writePreview shows what a dry run found.
func writePreview(w io.Writer, body *httpapi.RequestBody) {
	fmt.Fprintf(w, "dry run: %s\n", body.Would)
	t := &table{head: []string{"Rule", "Verdict", "Because"}}
	for _, f := range body.Preview.Findings {
		t.add(f.Rule, f.Verdict, f.Text)
	}
	t.write(w)
}

func approveCommand(a *app, verb string) *cobra.Command {
	var w who
	c := &cobra.Command{
		Use: verb + " REQUEST", Short: "Agree, as a second person, to a request that waits for it",
		Long: `approve lets a request go on that waits for a second person: another one than
who asked. Its rules are looked at again, as things are now. A request that nobody
agrees to in time is refused by itself.

` + exitHelp,
		Example: "  witnessctl fence approve 4711 --by 'Ben Ott' --reason 'I see the smoke too'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
				return errors.New("name a request by its number: the order that waits has printed it, and `witnessctl events` shows it")
			}
			var body httpapi.RequestBody
			if err := a.post(c.Context(), path("requests", args[0], verb), httpapi.ApprovalOrder{By: w.by, Reason: w.reason}, false, &body); err != nil {
				return err
			}
			if verb == "deny" {
				return a.print(body, func(out io.Writer) {
					fmt.Fprintf(out, "request %d is refused: %s\n", body.Request.ID, body.Request.Msg)
				})
			}
			if w.wait {
				if err := a.follow(c.Context(), w.timeout, &body); err != nil {
					return err
				}
			}
			if err := a.print(body, func(out io.Writer) {
				if body.Request.Status == witness.StatusDone {
					fmt.Fprintf(out, "done: %s\n", body.Request.Msg)
				} else if !w.wait {
					fmt.Fprintf(out, "request %d goes on\n", body.Request.ID)
				}
			}); err != nil || !w.wait {
				return err
			}
			return verdict(&body, w.timeout)
		},
	}
	c.Flags().StringVar(&w.by, "by", defaultBy(), "who answers, for the record")
	c.Flags().StringVar(&w.reason, "reason", "", "why, for the record (required)")
	if verb == "deny" {
		c.Short = "Refuse a request that waits for a second person"
		c.Long = "deny ends a request that waits for a second person. Whoever asked may deny it too.\n\n" + exitHelp
		c.Example = "  witnessctl fence deny 4711 --by 'Ben Ott' --reason 'wrong rack'"
		return c
	}
	c.Flags().BoolVar(&w.wait, "wait", true, "wait until it is over")
	c.Flags().DurationVar(&w.timeout, "timeout", 3*time.Minute, "how long to wait")
	return c
}

func fenceHistoryCommand(a *app) *cobra.Command {
	limit := 50
	c := &cobra.Command{
		Use: "history [HOST]", Short: "Power actions of the past: who asked, why, by which rule, with what proof",
		Example: "  witnessctl fence history\n  witnessctl fence history db1 -o json",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if len(args) == 1 {
				query.Set("host", args[0])
			}
			var body struct {
				httpapi.Meta
				Records []httpapi.FenceRecord `json:"records"`
			}
			if err := a.get(c.Context(), "/v1/fences/history", query, &body); err != nil {
				return err
			}
			return a.print(body, func(w io.Writer) {
				readOnlyNote(w, &body.Meta)
				writeFenceHistory(w, body.Records)
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", limit, "how many, at most 1000")
	return c
}

func writeFenceHistory(w io.Writer, records []httpapi.FenceRecord) {
	t := &table{head: []string{"Action", "Kind", "Host", "Outcome", "Grade", "Asked by", "Approved by", "Rule", "Why"}}
	for _, rec := range records {
		act, asked, approved := rec.Action, "the witnesses", "-"
		if rec.Request != nil {
			asked = rec.Request.By
			var names []string
			for _, ap := range rec.Request.Approvals {
				names = append(names, ap.By)
			}
			approved = dash(strings.Join(names, ", "))
		}
		t.add(act.ID, act.Kind, act.Host, string(act.Outcome), dash(string(act.Grade)), asked, approved, dash(act.Rule), dash(act.Why))
	}
	t.write(w)
}

// fencers says who could power a host off now.
func fencers(h *httpapi.HostView) string {
	switch {
	case len(h.Fencers) > 0:
		return strings.Join(h.Fencers, ", ")
	case h.Fenceable == witness.ReadyNo:
		return "nobody"
	}
	return "not known"
}

func took(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return since(seconds)
}

// writePaths names what keeps witnesses from powering hosts off, and what a
// single failure would take away.
func writePaths(w io.Writer, b *fencesBody) {
	for i := range b.Hosts {
		h := &b.Hosts[i]
		for _, p := range h.Paths {
			if !p.Ready && p.Detail != witness.PathPassive {
				fmt.Fprintf(w, "! %s: %s cannot use %s: %s\n", h.Name, p.Witness, p.Device, dash(p.Detail))
			}
		}
		for _, text := range h.Warnings {
			fmt.Fprintf(w, "? %s\n", text)
		}
	}
}
