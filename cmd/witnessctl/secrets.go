package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

func secretsCommand(a *app) *cobra.Command {
	return group("secrets", "How the secrets of fence devices are kept", "  witnessctl secrets status\n  witnessctl secrets rotate --reason 'w3 was stolen'",
		secretsStatusCommand(a), secretsRotateCommand(a))
}

func secretsStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Which data key seals the secrets, and which witnesses can open it",
		Example: "  witnessctl secrets status", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var body httpapi.SecretsBody
			if err := a.get(c.Context(), "/v1/secrets", nil, &body); err != nil {
				return err
			}
			return a.printSecrets(&body)
		},
	}
}

func secretsRotateCommand(a *app) *cobra.Command {
	var w who
	c := &cobra.Command{
		Use: "rotate", Short: "Seal the secrets of devices with a new data key", Args: cobra.NoArgs,
		Long: `rotate makes a new data key, for the witnesses that vote now, and seals every secret
with it within seconds. Do it after a witness was taken out. It keeps a witness that
is gone from reading secrets of later on; what it has read it knows, so change the
passwords of the devices too if its disk is in other hands.`,
		Example: "  witnessctl secrets rotate --by anna --reason 'w3 was stolen'",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := w.check(); err != nil {
				return err
			}
			var body httpapi.SecretsBody
			if err := a.post(c.Context(), "/v1/secrets/rotate", map[string]string{"by": w.by, "reason": w.reason}, false, &body); err != nil {
				return err
			}
			return a.printSecrets(&body)
		},
	}
	c.Flags().StringVar(&w.by, "by", defaultBy(), "who asks, for the record")
	c.Flags().StringVar(&w.reason, "reason", "", "why, for the record (required)")
	return c
}

func (a *app) printSecrets(body *httpapi.SecretsBody) error {
	return a.print(body, func(w io.Writer) {
		readOnlyNote(w, &body.Meta)
		fmt.Fprintf(w, "data key %d, which can be opened by %s\n", body.Version, dash(strings.Join(body.Witnesses, ", ")))
		fmt.Fprintf(w, "%s sealed with it, %d with an older one, %d in clear\n", count(body.Sealed, "secret"), body.Old, body.Clear)
	})
}
