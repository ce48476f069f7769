package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is what all commands share.
type app struct {
	stdin io.Reader
	out   io.Writer
	err   io.Writer

	servers    []string
	format     string
	consistent bool
}

const defaultServer = "http://127.0.0.1:8080"

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "witnessctl",
		Short: "Ask and command the witnesses of Quorate",
		Long: `witnessctl asks and commands the witnesses of Quorate.

Any witness accepts any command: name several with --server, and the first one
that can answer does.

` + exitHelp,
		Example: `  export QUORATE_SERVER=http://10.0.1.11:8080,http://10.0.2.11:8080,http://10.0.3.11:8080
  witnessctl status
  witnessctl cluster explain demo`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.check() },
	}
	server := os.Getenv("QUORATE_SERVER")
	if server == "" {
		server = defaultServer
	}
	flags := root.PersistentFlags()
	flags.StringSliceVar(&a.servers, "server", strings.Split(server, ","), "URLs of witnesses, tried in order (environment: QUORATE_SERVER)")
	flags.StringVarP(&a.format, "output", "o", formatTable, "output as table, json or yaml")
	flags.BoolVar(&a.consistent, "consistent", false, "ask a quorum before reading, instead of one witness's own state")
	root.AddCommand(
		statusCommand(a), watchCommand(a), clusterCommand(a), switchoverCommand(a), fenceCommand(a), dnsCommand(a), eventsCommand(a),
		validateCommand(a), diffCommand(a), applyCommand(a), configCommand(a), secretsCommand(a), memberCommand(a), qnetdCommand(a), qdeviceCommand(a), completionCommand(),
	)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  witnessctl help fence off"
		}
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatTable, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// check completes the global flags.
func (a *app) check() error {
	if !slices.Contains([]string{formatTable, formatJSON, formatYAML}, a.format) {
		return fmt.Errorf("--output %q: choose table, json or yaml", a.format)
	}
	for i, s := range a.servers {
		s = strings.TrimRight(strings.TrimSpace(s), "/")
		if s != "" && !strings.Contains(s, "://") {
			s = "http://" + s
		}
		a.servers[i] = s
	}
	a.servers = slices.DeleteFunc(a.servers, func(s string) bool { return s == "" })
	if len(a.servers) == 0 {
		return errors.New("no witness to ask: name at least one with --server or QUORATE_SERVER")
	}
	return nil
}

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("%s needs a verb; `%s --help` lists them", c.CommandPath(), c.CommandPath())
		},
	}
	c.AddCommand(commands...)
	return c
}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print a completion script for a shell",
		Example:   "  source <(witnessctl completion bash)\n  witnessctl completion fish > ~/.config/fish/completions/witnessctl.fish",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			root, w := c.Root(), c.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return root.GenPowerShellCompletionWithDesc(w)
		},
	}
}

// who are the flags by which a person answers for a command.
type who struct {
	by, reason string
	override   []string
	key        string
	wait       bool
	timeout    time.Duration
}

func (w *who) flags(c *cobra.Command) {
	c.Flags().StringVar(&w.by, "by", defaultBy(), "who asks, for the record")
	c.Flags().StringVar(&w.reason, "reason", "", "why, for the record (required)")
	c.Flags().StringVar(&w.key, "key", "", "idempotency key: repeating a command with its key does not do it twice (default: a new one)")
}

func (w *who) waitFlags(c *cobra.Command, timeout time.Duration) {
	c.Flags().BoolVar(&w.wait, "wait", true, "wait until it is over")
	c.Flags().DurationVar(&w.timeout, "timeout", timeout, "how long to wait")
	c.Flags().StringSliceVar(&w.override, "override", nil, "ids of the rules to override; every override is recorded")
}

func (w *who) check() error {
	if strings.TrimSpace(w.reason) == "" {
		return errors.New("say why with --reason: it is recorded with the decision")
	}
	if strings.TrimSpace(w.by) == "" {
		return errors.New("say who asks with --by: it is recorded with the decision")
	}
	return nil
}

// defaultBy returns user@host, or "" when neither is known.
func defaultBy() string {
	name := os.Getenv("USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	host, err := os.Hostname()
	if name == "" || err != nil {
		return name
	}
	return name + "@" + host
}
