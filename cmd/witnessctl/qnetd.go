package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

func qnetdCommand(a *app) *cobra.Command {
	var cluster string
	var verbose bool
	status := &cobra.Command{
		Use: "status", Short: "What corosync-qnetd-tool -s -v and -l -v print, from all witnesses",
		Long: `status prints the state of the quorum device in the words of corosync-qnetd-tool:
first what -s -v prints, of the witness that answers, then what -l -v prints, of
the clients of all witnesses. Each cluster ends with its decision in one
sentence. With --verbose the lines follow that only a replicated device has.`,
		Example: "  witnessctl qnetd status\n  witnessctl qnetd status --cluster labcluster --verbose",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			query := url.Values{}
			if cluster != "" {
				query.Set("cluster", cluster)
			}
			var body httpapi.QnetdBody
			if err := a.get(c.Context(), "/v1/qnetd", query, &body); err != nil {
				return err
			}
			return a.print(body, func(w io.Writer) { writeQnetd(w, &body, verbose) })
		},
	}
	status.Flags().StringVarP(&cluster, "cluster", "c", "", "this cluster only, by its name here or in corosync.conf")
	status.Flags().BoolVarP(&verbose, "verbose", "v", false, "also what a stock corosync-qnetd does not have")
	return group("qnetd", "The quorum device for corosync", "  witnessctl qnetd status", status)
}

func writeQnetd(w io.Writer, b *httpapi.QnetdBody, verbose bool) {
	readOnlyNote(w, &b.Meta)
	tls := map[string]string{"required": "Required", "on": "Supported", "off": "Unsupported"}[b.Info.TLS]
	if b.Info.CertRequired {
		tls += " (client certificate required)"
	}
	addr := b.Info.Address
	if _, port, ok := strings.Cut(addr, "[::]:"); ok {
		addr = "*:" + port
	}
	fmt.Fprintf(w, "QNetd address:\t\t\t%s\n", dash(addr))
	fmt.Fprintf(w, "TLS:\t\t\t\t%s\n", tls)
	fmt.Fprintf(w, "Connected clients:\t\t%d\n", b.Clients)
	fmt.Fprintf(w, "Connected clusters:\t\t%d\n", b.Active)
	fmt.Fprintf(w, "Maximum send/receive size:\t%d/%d bytes\n", b.MaxSize, b.MaxSize)
	if verbose {
		fmt.Fprintf(w, "Clients of %s:\t\t\t%d\n", b.Node, b.Info.Clients)
	}
	for i := range b.Clusters {
		writeQnetdCluster(w, &b.Clusters[i], verbose)
	}
}

func writeQnetdCluster(w io.Writer, c *httpapi.QnetdCluster, verbose bool) {
	fmt.Fprintf(w, "Cluster %q:\n", c.Name)
	if len(c.Nodes) > 0 {
		algorithm := c.Algorithm
		if c.KeepActive {
			algorithm += " (KAP Tie-breaker)"
		}
		fmt.Fprintf(w, "    Algorithm:\t\t%s\n", algorithm)
		fmt.Fprintf(w, "    Tie-breaker:\t%s\n", c.TieBreaker)
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		fmt.Fprintf(w, "    Node ID %d:\n", n.Node)
		line := func(name, format string, args ...any) {
			tabs := (32 - 8 - len(name) - 1 + 7) / 8 // the values stand in column 32
			fmt.Fprintf(w, "        %s:%s%s\n", name, strings.Repeat("\t", max(1, tabs)), fmt.Sprintf(format, args...))
		}
		line("Client address", "%s", n.Address)
		line("HB interval", "%dms", n.Heartbeat)
		line("Configured node list", "%s", idList(n.Config))
		if n.ConfigVersion > 0 {
			line("Configuration version", "%d", n.ConfigVersion)
		}
		line("Ring ID", "%s", n.Ring)
		line("Membership node list", "%s", idList(n.Members))
		line("Heuristics", "%s (membership: %s, regular: %s)", n.Heuristics, n.AtMembership, n.Regular)
		switch {
		case n.Verified:
			line("TLS active", "Yes (client certificate verified)")
		default:
			line("TLS active", "%s", map[bool]string{true: "Yes", false: "No"}[n.TLS])
		}
		line("Vote", "%s (%s)", n.Vote, n.LastVote)
		if verbose {
			line("Member", "%s", n.Member)
			line("Witness", "%s", n.Owner)
			line("Connected for", "%.0fs", n.Age)
			line("Quorate", "%s", map[bool]string{true: "Yes", false: "No"}[n.Quorate])
			line("Silence limits", "%.1fs (client), %.1fs (witness)", n.Silent, n.OwnerSilent)
		}
	}
	if verbose {
		fmt.Fprintf(w, "    Phase:\t\t%s (run %d)\n", c.Phase, c.Run)
		fmt.Fprintf(w, "    Epoch:\t\t%d\n", c.Epoch)
	}
	fmt.Fprintf(w, "    Decision:\t\t%s\n", c.Text)
	if c.NotVoting != "" {
		fmt.Fprintf(w, "    NOT VOTING:\t\t%s\n", c.NotVoting)
	}
}

func idList(ids []uint32) string {
	if len(ids) == 0 {
		return "(none)"
	}
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = fmt.Sprint(id)
	}
	return strings.Join(out, ", ")
}
