package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"quorate/cmd/witnessd/demo"
)

// TestDemo plays the whole demo: three real witnesses, Redfish BMCs, a killed
// primary. It fails unless the loser was proven off before the grant.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out, logs bytes.Buffer
	err := demo.Run(ctx, demo.Options{Out: &out, Start: func(ctx context.Context, n demo.Node) error {
		log := slog.New(slog.DiscardHandler)
		if n.Name == "w1" {
			log = slog.New(slog.NewTextHandler(&logs, nil))
		}
		return Run(ctx, Options{Config: demoConfig(n), Log: log})
	}})
	if err != nil {
		t.Errorf("%v\n%s\nlog of w1:\n%s", err, out.String(), logs.String())
	}
	if testing.Verbose() {
		_, _ = os.Stdout.Write(out.Bytes())
	}
}
