package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func each(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		each(sub, f)
	}
}

// Every --help has an example, and every example is a command line that this
// program takes.
func TestEveryHelpHasAnExample(t *testing.T) {
	seen := 0
	each(newRoot(&app{}), func(c *cobra.Command) {
		seen++
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if _, rest, ok := strings.Cut(line, "<("); ok {
				line = strings.TrimSuffix(rest, ")")
			}
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " > ")
			rest, ours := strings.CutPrefix(line, "witnessctl ")
			if !ours {
				if !strings.HasPrefix(line, "export ") {
					t.Errorf("%s: the example %q is no command line of ours", c.CommandPath(), line)
				}
				continue
			}
			root := newRoot(&app{})
			found, args, err := root.Find(words(rest))
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err == nil {
				err = found.ValidateRequiredFlags()
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
	if seen < 25 {
		t.Errorf("only %d commands seen", seen)
	}
}

var updateDocs = flag.Bool("update-docs", false, "rewrite docs/cli.md")

const cliDoc = "../../docs/cli.md"

// docs/cli.md is made from the commands themselves: regenerate it with
// -update-docs.
func TestDocumentation(t *testing.T) {
	t.Setenv("QUORATE_SERVER", "")
	t.Setenv("USER", "")
	got := document()
	if *updateDocs {
		if err := os.WriteFile(cliDoc, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the commands say; regenerate it: go test ./cmd/witnessctl -run TestDocumentation -update-docs", cliDoc)
	}
}

func document() string {
	var b bytes.Buffer
	root := newRoot(&app{})
	b.WriteString("# witnessctl\n\n<!-- Made from the commands by `go test ./cmd/witnessctl -run TestDocumentation -update-docs`. -->\n\n")
	b.WriteString(root.Long + "\n\n```\n" + outdent(root.Example) + "\n```\n\nFlags of all commands:\n\n" + flagList(root.PersistentFlags()))
	each(root, func(c *cobra.Command) {
		if !c.Runnable() || c.HasSubCommands() || c.Name() == "help" {
			return
		}
		b.WriteString("\n## " + strings.TrimPrefix(c.CommandPath(), "witnessctl ") + "\n\n")
		text := c.Short + "."
		if c.Long != "" {
			long, _, _ := strings.Cut(c.Long, "\n\nExit codes:")
			text += "\n\n" + long
		}
		b.WriteString(text + "\n\n```\n" + outdent(c.Example) + "\n```\n")
		if list := flagList(c.LocalNonPersistentFlags()); list != "" {
			b.WriteString("\n" + list)
		}
	})
	return b.String()
}

func outdent(s string) string { return strings.ReplaceAll(strings.TrimPrefix(s, "  "), "\n  ", "\n") }

func flagList(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		b.WriteString("- `" + name + "`: " + f.Usage)
		switch {
		case f.Name == "by":
			b.WriteString(" (default: you@this-machine)")
		case f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]":
			b.WriteString(" (default: " + strings.Trim(f.DefValue, "[]") + ")")
		}
		b.WriteString("\n")
	})
	return b.String()
}
