package lab

import (
	"context"
	"fmt"
	"time"
)

// waitPoll is how often Until looks; short against every bound in the tests.
const waitPoll = 50 * time.Millisecond

// Until calls check until it returns nil, at most for the given time, and then
// returns the last error with what was waited for.
func Until(ctx context.Context, bound time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	start := time.Now()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", time.Since(start).Round(time.Millisecond), what, last)
		case <-time.After(waitPoll):
		}
	}
}
