package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

type clusterList struct {
	httpapi.Meta
	Clusters []httpapi.ClusterView `json:"clusters"`
}

type clusterBody struct {
	httpapi.Meta
	Cluster httpapi.ClusterView `json:"cluster"`
}

func clusterCommand(a *app) *cobra.Command {
	return group("cluster", "The clusters: who holds them, why, and what happened",
		"  witnessctl cluster list\n  witnessctl cluster explain demo",
		clusterListCommand(a), clusterShowCommand(a), explainCommand(a), historyCommand(a))
}

func clusterListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All clusters with their holders, members and protection", Args: cobra.NoArgs,
		Long: `list shows all clusters. The states are

  ok        somebody holds it, and the lease is alive
  guarded   the holder's lease is dead, and its host is being powered off
  held      as guarded, but a rule keeps it from going on: a person is needed
  vacant    nobody holds it

and the protection says what happens when the holder is lost now:

  full           it is powered off, and somebody takes over
  no-candidate   nobody could take over
  no-device      only a person could prove it off
  no-path        its fence devices do not work now from any witness that has looked
  paused         Patroni is told not to fail over
  unfenced       fencing is none; its lease ends as in etcd
  none           there is no living holder to protect`,
		Example: "  witnessctl cluster list\n  witnessctl cluster list -o json | jq '.clusters[].holder'",
		RunE: func(c *cobra.Command, _ []string) error {
			var list clusterList
			if err := a.get(c.Context(), "/v1/clusters", nil, &list); err != nil {
				return err
			}
			return a.print(list, func(w io.Writer) {
				readOnlyNote(w, &list.Meta)
				writeClusters(w, list.Clusters)
			})
		},
	}
}

func writeClusters(w io.Writer, clusters []httpapi.ClusterView) {
	t := &table{head: []string{"Cluster", "Holder", "Epoch", "State", "Members", "Protection"}}
	for i := range clusters {
		c := &clusters[i]
		members := make([]string, len(c.Members))
		for j := range c.Members {
			members[j] = brief(&c.Members[j])
		}
		t.add(c.Name, dash(c.Holder), fmt.Sprint(c.Epoch), c.State, strings.Join(members, ", "), c.Protection)
	}
	t.write(w)
}

// brief is a member in a few characters: its role, its lag, what is wrong.
func brief(m *httpapi.MemberView) string {
	switch {
	case m.Fenced:
		return m.Name + " fenced"
	case m.Role == httpapi.RoleAbsent:
		return m.Name + " absent"
	case !m.Ready:
		return m.Name + " " + m.Unfit
	case m.Role == httpapi.RolePrimary:
		return m.Name + " primary"
	case m.Lag != nil:
		return m.Name + " replica +" + size(*m.Lag)
	}
	return m.Name + " replica"
}

func clusterShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show CLUSTER", Short: "One cluster: members, policy, the change under way",
		Example: "  witnessctl cluster show demo",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeClusters,
		RunE: func(c *cobra.Command, args []string) error {
			var body clusterBody
			if err := a.get(c.Context(), path("clusters", args[0]), nil, &body); err != nil {
				return err
			}
			return a.print(body, func(w io.Writer) {
				readOnlyNote(w, &body.Meta)
				writeCluster(w, &body.Cluster)
			})
		},
	}
}

func writeCluster(w io.Writer, c *httpapi.ClusterView) {
	fmt.Fprintf(w, "%s: %s\n", c.Name, c.Text)
	t := &table{head: []string{"Member", "Host", "Role", "State", "TL", "Lag", "Ready"}}
	for i := range c.Members {
		m := &c.Members[i]
		lag, tl, ready := "-", "-", yesNo(m.Ready)
		if m.Lag != nil {
			lag = size(*m.Lag)
		}
		if m.Timeline > 0 {
			tl = fmt.Sprint(m.Timeline)
		}
		if m.Unfit != "" {
			ready += ": " + m.Unfit
		}
		t.add(m.Name, dash(m.Host), m.Role, dash(m.State), tl, lag, ready)
	}
	t.write(w)
	holder := "nobody"
	if c.Holder != "" {
		holder = fmt.Sprintf("%s on %s since %s", c.Holder, dash(c.HolderHost), since(c.HeldFor))
	}
	p := c.Policy
	fmt.Fprintf(w, "holder      %s, epoch %d, state %s\n", holder, c.Epoch, c.State)
	fmt.Fprintf(w, "protection  %s\n", c.Protection)
	fmt.Fprintf(w, "policy      fencing %s, fast %s, unproven %s\n", orDefault(p.Fencing, "required"), orDefault(p.Fast, "off"), orDefault(p.OnUnproven, "hold"))
	if p.Guarded() {
		grades := make([]string, 0, 4)
		for _, g := range p.Unlocking() {
			grades = append(grades, string(g))
		}
		fmt.Fprintf(w, "released by %s; second person: %s\n", strings.Join(grades, ", "), orDefault(p.Approval, "none"))
	}
	if c.Zone != "" {
		zone := strings.TrimSuffix(c.Zone, ".")
		fmt.Fprintf(w, "dns         primary.%s.%s, replica.%s.%s\n", c.Name, zone, c.Name, zone)
	}
	if r := c.Release; r != nil {
		by := ""
		if r.By != "" {
			by = " by " + r.By
		}
		fmt.Fprintf(w, "released    %s from epoch %d: %s%s\n", r.Member, r.Epoch, r.Grade, by)
	}
	if c.Run != nil {
		fmt.Fprintf(w, "under way   %s %d: witnessctl cluster history %s --run %d\n", c.Run.Kind, c.Run.ID, c.Name, c.Run.ID)
	}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// completeClusters offers the names of the clusters.
func (a *app) completeClusters(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(c, args, func(ctx context.Context) ([]string, error) {
		var list clusterList
		err := a.get(ctx, "/v1/clusters", nil, &list)
		names := make([]string, len(list.Clusters))
		for i := range list.Clusters {
			names[i] = list.Clusters[i].Name
		}
		return names, err
	})
}
