package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"quorate/cmd/witnessd/demo"
)

func demoCommand() *cobra.Command {
	var stay, verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Three witnesses, a small database cluster and BMCs on loopback",
		Long: `demo starts three witnesses, three simulated database hosts and their BMCs on
loopback addresses, cuts the power of the primary's host, and prints what the
witnesses did and when. It exits with 0 only if the outcome is right.`,
		Example: "  witnessd demo\n  witnessd demo --stay",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.DiscardHandler)
			if verbose {
				log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			}
			return demo.Run(cmd.Context(), demo.Options{
				Out: cmd.OutOrStdout(), Stay: stay,
				Start: func(ctx context.Context, n demo.Node) error {
					return Run(ctx, Options{Config: demoConfig(n), Log: log})
				},
			})
		},
	}
	cmd.Flags().BoolVar(&stay, "stay", false, "leave everything running and print commands to play with")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log what the witnesses do")
	return cmd
}

func demoConfig(n demo.Node) Config {
	cfg := Config{
		Node: n.Name, Site: n.Site, Data: n.Data, Peers: n.Peers,
		Peer: PeerConfig{Listen: n.Peer}, Etcd: EtcdConfig{ListenConfig: ListenConfig{Listen: n.Etcd}},
		HTTP: ListenConfig{Listen: n.HTTP}, DNS: DNSConfig{ListenConfig: ListenConfig{Listen: n.DNS}},
		Timing: TimingConfig{Heartbeat: 300 * time.Millisecond},
	}
	cfg.setDefaults()
	return cfg
}
