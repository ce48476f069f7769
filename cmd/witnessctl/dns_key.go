package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"quorate/dnsfailover"
)

// dnsKeyCommand makes DNSSEC keys. It works on files and asks no witness.
func dnsKeyCommand(a *app) *cobra.Command {
	var out string
	var zsk bool
	create := &cobra.Command{
		Use: "new ZONE --out FILE", Short: "Make a key that signs a zone, and print the DS record for the parent zone",
		Long: `Make a DNSSEC key of algorithm 13 (ECDSA P-256, SHA-256) as a private key file.

Copy the file to every witness, name it under dns.keys in each node's
configuration, restart them one after the other, and only then give the DS
record to the parent zone. One key signs everything; with --zsk it is a zone
signing key, which needs a key with sep beside it and has no DS record.`,
		Example: "  witnessctl dns key new db.example.org --out db.example.org.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := dnsfailover.NewSigningKey(args[0], !zsk)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never over a key that is in use
			if err != nil {
				return fmt.Errorf("the key is not written: %w", err)
			}
			if _, err := f.WriteString(key.Private); err != nil {
				return fmt.Errorf("the key is not written: %w", err)
			}
			if err := f.Close(); err != nil {
				return fmt.Errorf("the key is not written: %w", err)
			}
			return printDS(a, args[0], key)
		},
	}
	create.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	create.Flags().BoolVar(&zsk, "zsk", false, "a zone signing key, beside one with sep")
	_ = create.MarkFlagRequired("out")
	ds := &cobra.Command{
		Use: "ds ZONE FILE", Short: "The DS record of a key, for the parent zone",
		Example: "  witnessctl dns key ds db.example.org db.example.org.key",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			return printDS(a, args[0], dnsfailover.SigningKey{Private: string(text), SEP: true})
		},
	}
	return group("key", "Keys that sign zones (DNSSEC)", "  witnessctl dns key new db.example.org --out db.example.org.key", create, ds)
}

func printDS(a *app, zone string, key dnsfailover.SigningKey) error {
	record := ""
	if key.SEP {
		var err error
		if record, err = key.DS(zone); err != nil {
			return fmt.Errorf("this key cannot sign %s: %w", zone, err)
		}
	}
	return a.print(map[string]string{"zone": zone, "ds": record}, func(w io.Writer) {
		if record != "" {
			_, _ = fmt.Fprintln(w, record)
		}
	})
}
