// Command witness-agent runs on the nodes of a cluster, between what runs there
// already and the witnesses.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes. They are stable: units depend on them.
const (
	ExitOK    = 0
	ExitError = 1 // wrong usage, bad input, an address that is taken
)

const exitHelp = `Exit codes:
  0  ended by a signal
  1  could not start: wrong usage, bad input, an address that is taken`

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "witness-agent:", err)
		return ExitError
	}
	return ExitOK
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "witness-agent",
		Short:             "The part of Quorate that runs on cluster nodes",
		Long:              "witness-agent is the part of Quorate that runs on cluster nodes. No cluster needs it.\n\n" + exitHelp,
		Example:           "  witness-agent qdevice-proxy --witness 10.0.1.11:5403 --ca ca.crt --cert hacluster.crt --key hacluster.key",
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(proxyCommand())
	return root
}
