package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "The witnesses, how much they can still lose, and what needs attention",
		Long: `status says how well the witnesses are protected:

  protected          at least one more witness may fail
  one more failure   the next failure stops all decisions
  unprotected        there is no majority, and nothing is decided

then which witnesses there are, how the clusters do, and what needs a person.`,
		Example: "  witnessctl status\n  witnessctl status -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s httpapi.StatusBody
			if err := a.get(c.Context(), "/v1/status", nil, &s); err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) { writeStatus(w, &s) })
		},
	}
}

func writeStatus(w io.Writer, s *httpapi.StatusBody) {
	fmt.Fprintln(w, s.Text)
	if s.ReadOnly {
		fmt.Fprintf(w, "READ-ONLY: %s has had no contact to a quorum for %s; what follows may be out of date\n", s.Node, since(s.Age))
	}
	t := &table{head: []string{"Witness", "Role", "Alive", "Vote", "Peer", "API"}}
	for _, m := range s.Members {
		role := "follower"
		switch {
		case m.Name == s.Leader:
			role = "leader"
		case m.Name == s.Node:
			role = s.Role
		}
		t.add(m.Name, role, yesNo(m.Alive), yesNo(m.Voter), dash(m.Peer), dash(m.API))
	}
	t.write(w)
	fmt.Fprintf(w, "clusters: %d ok, %d guarded, %d held, %d vacant\n",
		s.Clusters[httpapi.StateOK], s.Clusters[httpapi.StateGuarded], s.Clusters[httpapi.StateHeld], s.Clusters[httpapi.StateVacant])
	for _, at := range s.Attention {
		fmt.Fprintf(w, "! %s: %s\n", at.Cluster, at.Text)
	}
	for _, p := range s.Pending {
		fmt.Fprintf(w, "… %s of %s is under way (action %s)\n", p.Kind, p.Host, p.ID)
	}
	fmt.Fprintf(w, "answered by %s: index %d, term %d, configuration %d, state %s\n", s.Node, s.Index, s.Term, s.Config, s.Digest)
}

// readOnlyNote warns of an answer that may be out of date.
func readOnlyNote(w io.Writer, m *httpapi.Meta) {
	if m.ReadOnly {
		fmt.Fprintf(w, "READ-ONLY: %s has had no contact to a quorum for %s; this may be out of date\n", m.Node, since(m.Age))
	}
}

func sorted(names []string) []string { slices.Sort(names); return names }
