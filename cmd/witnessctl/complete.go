package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completeTime is how long a shell may wait for names.
const completeTime = 2 * time.Second

// complete offers names for the first argument; without a witness it offers
// nothing.
func (a *app) complete(c *cobra.Command, args []string, names func(context.Context) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.check() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	list, err := names(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return sorted(list), cobra.ShellCompDirectiveNoFileComp
}
