package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// pollTime is how long one witness is asked to wait for the end of a request
// before the next look.
const pollTime = 20 * time.Second

// order sends a request and follows it to its end. The key makes it safe to
// send it to another witness when the first one does not answer.
func (a *app) order(ctx context.Context, w *who, target string, order func(key string) any) error {
	key := w.key
	if key == "" {
		key = rand.Text()
	}
	var body httpapi.RequestBody
	if err := a.post(ctx, target, order(key), true, &body); err != nil {
		return err
	}
	if body.Preview != nil {
		return a.print(body, func(out io.Writer) { writePreview(out, &body) })
	}
	if !w.wait && body.Request.Status != witness.StatusApproval {
		return a.print(body, func(out io.Writer) {
			fmt.Fprintf(out, "request %d is taken; `witnessctl events` tells how it goes on\n", body.Request.ID)
		})
	}
	if err := a.follow(ctx, w.timeout, &body); err != nil {
		return err
	}
	if err := a.print(body, func(out io.Writer) {
		if body.Request.Status == witness.StatusDone {
			fmt.Fprintf(out, "done: %s\n", body.Request.Msg)
		}
	}); err != nil {
		return err
	}
	return verdict(&body, w.timeout)
}

// follow waits for the end of a request; a witness that dies meanwhile is
// replaced by the next one.
func (a *app) follow(ctx context.Context, timeout time.Duration, body *httpapi.RequestBody) error {
	until := time.Now().Add(timeout)
	id := body.Request.ID
	for !over(body.Request) && body.Request.Status != witness.StatusApproval {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		wait := min(left, pollTime)
		var next httpapi.RequestBody
		err := a.send(ctx, call{
			method: http.MethodGet, path: path("requests", fmt.Sprint(id)), again: true, wait: wait,
			query: url.Values{"wait": {wait.Round(time.Millisecond).String()}, "consistent": {"1"}},
		}, &next)
		switch {
		case err == nil:
			*body = next
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted; request %d goes on without you, and `witnessctl events` tells how", id)
		default: // perhaps the leader is changing: look again soon
			select {
			case <-time.After(min(left, time.Second)):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func over(r *witness.Request) bool { return !r.Open() }

// verdict turns the end of a request into an exit code.
func verdict(body *httpapi.RequestBody, timeout time.Duration) error {
	r := body.Request
	fail := &httpapi.Error{Meta: body.Meta, Rule: r.Rule, Message: r.Msg, Request: r.ID, Explain: body.Explain}
	switch {
	case r.Status == witness.StatusDone:
		return nil
	case r.Status == witness.StatusApproval:
		return &exitError{ExitApproval, fmt.Errorf("request %d waits for a second person, who agrees with `witnessctl fence approve %d --by NAME --reason TEXT`; nothing is done before", r.ID, r.ID)}
	case r.Status == witness.StatusRefused:
		fail.Code = witness.CodeRefused
	case r.Status == witness.StatusFailed && r.Kind == witness.RequestSwitchover:
		fail.Code = witness.CodeConflict
	case r.Status == witness.StatusFailed:
		fail.Code = witness.CodeUnproven
	default:
		code := ExitError
		if r.Kind != witness.RequestSwitchover {
			code = ExitUnproven
		}
		return &exitError{code, fmt.Errorf("%s of %s%s is still %s after %s; it goes on, and `witnessctl events` tells how", r.Kind, r.Host, r.Cluster, r.Status, timeout)}
	}
	return &reported{fail}
}

// reported is an error whose structured form is on the output already.
type reported struct{ err *httpapi.Error }

func (r *reported) Error() string { return r.err.Error() }
func (r *reported) Unwrap() error { return r.err }

func switchoverCommand(a *app) *cobra.Command {
	var w who
	var to string
	c := &cobra.Command{
		Use: "switchover CLUSTER", Short: "Move a cluster to another member in good order",
		Long: `switchover asks Patroni to move the cluster while its holder is alive, and waits
until the new holder is granted. For a lost holder the witnesses fail over by
themselves: see cluster explain.

` + exitHelp,
		Example: "  witnessctl switchover demo --reason 'kernel update on db1'\n  witnessctl switchover demo --to pg2 --by anna --reason 'ticket 4711'",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeClusters,
		RunE: func(c *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			return a.order(c.Context(), &w, path("clusters", args[0], "switchover"), func(key string) any {
				return httpapi.SwitchoverOrder{To: to, By: w.by, Reason: w.reason, Key: key, Override: w.override}
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the member that shall take over (default: the one with the least lag)")
	w.flags(c)
	w.waitFlags(c, 90*time.Second)
	return c
}
