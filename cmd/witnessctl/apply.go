package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/manifest"
)

const stdinName = "-"

// fileFlag is the -f of the commands that take a configuration.
func fileFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "file", "f", "", "the configuration, YAML or JSON; - reads standard input")
	_ = c.MarkFlagRequired("file")
}

// readFile returns the content of a configuration and the name to show for it.
func (a *app) readFile(file string) (raw []byte, name string, err error) {
	if file == stdinName {
		raw, err = io.ReadAll(io.LimitReader(a.stdin, manifest.MaxBytes+1))
		return raw, "stdin", err
	}
	raw, err = os.ReadFile(file)
	return raw, file, err
}

// load reads a configuration and returns its faults as an error.
func (a *app) load(file string) (raw []byte, name string, err error) {
	raw, name, err = a.readFile(file)
	if err != nil {
		return nil, "", err
	}
	if _, faults := manifest.Load(name, raw, nil); len(faults) > 0 {
		return nil, "", &httpapi.Error{Code: witness.CodeInvalid, Message: faults.Error(), Faults: faults}
	}
	return raw, name, nil
}

func validateCommand(a *app) *cobra.Command {
	var file string
	var online bool
	c := &cobra.Command{
		Use: "validate -f FILE", Short: "Every fault of a configuration, with file and line", Args: cobra.NoArgs,
		Long: `validate reads a configuration and prints all its faults as file:line: message.
It needs no witness. With --online the witnesses check it too: whether they have
the fence drivers that it names. Warnings tell what a single failure would take
from the fencing of a host; they keep nothing from being applied.`,
		Example: "  witnessctl validate -f quorate.yaml\n  witnessctl validate -f quorate.yaml --online",
		RunE: func(c *cobra.Command, _ []string) error {
			raw, name, err := a.load(file)
			if err != nil {
				return err
			}
			checked := httpapi.Checked{Valid: true, Faults: manifest.Faults{}, Changes: []manifest.Change{}, Warnings: manifest.Faults{}}
			if online {
				q := url.Values{"file": {name}}
				if err := a.send(c.Context(), call{method: http.MethodPost, path: "/v1/config/validate", query: q, body: raw, kind: "application/yaml", again: true}, &checked); err != nil {
					return err
				}
				if !checked.Valid {
					return &httpapi.Error{Meta: checked.Meta, Code: witness.CodeInvalid, Message: checked.Faults.Error(), Faults: checked.Faults}
				}
			}
			if cfg, _ := manifest.Load(name, raw, nil); cfg != nil {
				checked.Warnings = manifest.Warnings(name, raw, cfg)
			}
			return a.print(checked, func(w io.Writer) {
				fmt.Fprintf(w, "%s is valid\n", name)
				for _, f := range checked.Warnings {
					fmt.Fprintf(w, "warning: %s\n", f)
				}
			})
		},
	}
	fileFlag(c, &file)
	c.Flags().BoolVar(&online, "online", false, "let a witness check it too")
	return c
}

func diffCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "diff -f FILE", Short: "What applying a configuration would change", Args: cobra.NoArgs,
		Example: "  witnessctl diff -f quorate.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			done, err := a.put(c.Context(), file, url.Values{"dry_run": {"1"}})
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				writeChanges(w, done)
				if len(done.Changes) == 0 {
					fmt.Fprintln(w, "no differences")
				}
			})
		},
	}
	fileFlag(c, &file)
	return c
}

func applyCommand(a *app) *cobra.Command {
	var file, by, reason string
	var base uint64
	var dry bool
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Replace the configuration as a whole, or nothing of it", Args: cobra.NoArgs,
		Long: `apply replaces the configuration by a file. All faults are reported at once, with
file and line, and then nothing is applied. What a running failover stands on
cannot be taken away. A masked secret (********) of an unchanged device keeps its
value, so what config prints can be edited and applied.

` + exitHelp,
		Example: "  witnessctl apply -f quorate.yaml --by anna --reason 'new replica'\n  witnessctl apply -f quorate.yaml --dry-run",
		RunE: func(c *cobra.Command, _ []string) error {
			if reason != "" {
				by += " (" + reason + ")"
			}
			q := url.Values{"by": {by}}
			if base != 0 {
				q.Set("base", strconv.FormatUint(base, 10))
			}
			if dry {
				q.Set("dry_run", "1")
			}
			done, err := a.put(c.Context(), file, q)
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				writeChanges(w, done)
				switch {
				case done.Applied:
					fmt.Fprintf(w, "applied: %s, configuration version %d\n", count(len(done.Changes), "change"), done.Version)
				case dry:
					fmt.Fprintf(w, "dry run: %s, nothing is applied\n", count(len(done.Changes), "change"))
				default:
					fmt.Fprintf(w, "no differences: configuration version %d stays\n", done.Version)
				}
			})
		},
	}
	fileFlag(c, &file)
	c.Flags().StringVar(&by, "by", defaultBy(), "who applies it, for the record")
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	c.Flags().Uint64Var(&base, "base", 0, "the version that the file is based on; refuse if another one holds")
	c.Flags().BoolVar(&dry, "dry-run", false, "show the changes, but change nothing")
	return c
}

// put sends a configuration after checking it here.
func (a *app) put(ctx context.Context, file string, q url.Values) (*httpapi.Applied, error) {
	raw, name, err := a.load(file)
	if err != nil {
		return nil, err
	}
	q.Set("file", name)
	var done httpapi.Applied
	err = a.send(ctx, call{method: http.MethodPut, path: "/v1/config", query: q, body: raw, kind: "application/yaml", again: true}, &done)
	return &done, err
}

func writeChanges(w io.Writer, done *httpapi.Applied) {
	for _, ch := range done.Changes {
		fmt.Fprintln(w, ch)
	}
}

func configCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print the configuration as YAML, secrets masked", Args: cobra.NoArgs,
		Example: "  witnessctl config > quorate.yaml\n  witnessctl config -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			var body struct {
				httpapi.Meta
				Version uint64         `json:"version"`
				Config  witness.Config `json:"config"`
			}
			if err := a.get(c.Context(), "/v1/config", nil, &body); err != nil {
				return err
			}
			raw, err := manifest.Render(&body.Config)
			if err != nil {
				return err
			}
			return a.print(body, func(w io.Writer) {
				fmt.Fprintf(w, "# version %d\n%s", body.Version, raw)
			})
		},
	}
}
