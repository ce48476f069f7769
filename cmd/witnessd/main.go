// Command witnessd is one node of a Quorate failover witness.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "witnessd:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	root := &cobra.Command{
		Use:   "witnessd --config FILE",
		Short: "One node of a Quorate failover witness",
		Long: `witnessd is one node of a failover witness. Three of them, at three sites, hold
the votes of databases, power off whoever lost, and answer DNS for whoever won.`,
		Example:       "  witnessd --config /etc/quorate/witnessd.yaml\n  witnessd demo",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return errors.New("no configuration: give --config FILE; docs/install.md shows one, `witnessd demo` needs none")
			}
			cfg, err := LoadConfig(path)
			if err != nil {
				return err
			}
			return Run(cmd.Context(), Options{Config: *cfg, Log: logger(cfg.Log)})
		},
	}
	root.Flags().StringVarP(&path, "config", "c", "", "node configuration (YAML)")
	root.AddCommand(demoCommand(), hashCommand())
	return root
}

func logger(cfg LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.JSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}
