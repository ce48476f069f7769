package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/report"
)

func explainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "explain CLUSTER", Short: "Why a cluster is as it is, and why nothing else happens",
		Long: `explain prints the outcome in one sentence and then every rule that was
evaluated: its id, its verdict, what went in, and what it says. It does so for
decisions and for "nothing to do" alike.`,
		Example: "  witnessctl cluster explain demo",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeClusters,
		RunE: func(c *cobra.Command, args []string) error {
			var ex httpapi.Explanation
			if err := a.get(c.Context(), path("clusters", args[0], "explain"), nil, &ex); err != nil {
				return err
			}
			return a.print(ex, func(w io.Writer) { writeExplanation(w, &ex) })
		},
	}
}

func writeExplanation(w io.Writer, ex *httpapi.Explanation) {
	fmt.Fprintln(w, ex.Sentence)
	t := &table{head: []string{"Rule", "Verdict", "Inputs", "Text"}}
	for _, f := range ex.Findings {
		mark := ""
		if f.Rule == ex.Decisive {
			mark = " *"
		}
		t.add(f.Rule+mark, f.Verdict, dash(f.Inputs), f.Text)
	}
	t.write(w)
	fmt.Fprintf(w, "decided by %s\n", ex.Decisive)
	if ex.Plan != nil {
		for _, item := range ex.Plan.Actions {
			fmt.Fprintf(w, "next: %s %s%s\n", item.Kind, item.Host, item.To)
		}
	}
}

type historyBody struct {
	httpapi.Meta
	Cluster string         `json:"cluster"`
	Runs    []*witness.Run `json:"runs"`
}

func historyCommand(a *app) *cobra.Command {
	var which string
	c := &cobra.Command{
		Use: "history CLUSTER", Short: "The failovers and switchovers of a cluster; --run shows one as a timeline",
		Example: "  witnessctl cluster history demo\n  witnessctl cluster history demo --run last",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeClusters,
		RunE: func(c *cobra.Command, args []string) error {
			var h historyBody
			if err := a.get(c.Context(), path("clusters", args[0], "history"), nil, &h); err != nil {
				return err
			}
			if which == "" {
				return a.print(h, func(w io.Writer) {
					readOnlyNote(w, &h.Meta)
					writeHistory(w, &h)
				})
			}
			run, err := findRun(&h, which)
			if err != nil {
				return err
			}
			return a.print(run, func(w io.Writer) {
				_ = report.Timeline(w, run, report.Options{Cluster: h.Cluster}) // w is a buffer
			})
		},
	}
	c.Flags().StringVar(&which, "run", "", "number of a run, or last")
	return c
}

func findRun(h *historyBody, which string) (*witness.Run, error) {
	if len(h.Runs) == 0 {
		return nil, fmt.Errorf("%s has had no failover and no switchover", h.Cluster)
	}
	if which == "last" {
		return h.Runs[len(h.Runs)-1], nil
	}
	id, err := strconv.ParseUint(which, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("--run %q: give the number of a run, or last", which)
	}
	for _, r := range h.Runs {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%s has no run %s; `witnessctl cluster history %s` lists them", h.Cluster, which, h.Cluster)
}

func writeHistory(w io.Writer, h *historyBody) {
	if len(h.Runs) == 0 {
		fmt.Fprintf(w, "%s has had no failover and no switchover\n", h.Cluster)
		return
	}
	t := &table{head: []string{"Run", "Kind", "From", "To", "Epoch", "State", "Began", "Took", "By", "Reason"}}
	for _, r := range h.Runs {
		epoch, began := fmt.Sprint(r.Epoch), "-"
		if r.NewEpoch != 0 {
			epoch += " → " + fmt.Sprint(r.NewEpoch)
		}
		if len(r.Phases) > 0 {
			began = when(r.Phases[0].Wall)
		}
		t.add(fmt.Sprint(r.ID), r.Kind, dash(r.From), dash(r.To), epoch, r.State, began, since(report.Length(r).Seconds()), dash(r.By), dash(r.Reason))
	}
	t.write(w)
}
