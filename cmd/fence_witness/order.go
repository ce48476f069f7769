package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

const (
	// pollTime is how long a witness is asked to wait for the end of an order
	// before the next look.
	pollTime = 5 * time.Second
	// repeatTime is how long an order that was carried out stands for another one
	// like it, of the fencer's second attempt or of the next coordinator. No
	// machine starts, joins and is lost again within it.
	repeatTime = 15 * time.Second
	// orderTime is how long an order lasts that could not be carried out: longer than
	// any fencer waits, whose second attempt follows the first, and than an executor
	// takes. Later it would hit another situation.
	orderTime = 3 * time.Minute
	// maxAttempts is how many orders of one incident are looked at before the
	// agent gives one that is certainly new.
	maxAttempts = 8
)

// power carries out off, on and reboot.
func (a *agent) power(ctx context.Context, v *view, h *httpapi.HostView) error {
	key, err := a.incident(ctx, h)
	if err != nil {
		return err
	}
	if a.action == "on" {
		return a.order(ctx, v, h, "on", key)
	}
	if err := a.order(ctx, v, h, "off", key); err != nil {
		return err
	}
	if a.action == "reboot" {
		// The fence is the off part: Pacemaker can go on without the other one.
		if err := a.order(ctx, v, h, "on", key); err != nil {
			fmt.Fprintf(a.errs, "fence_witness: %s is proven off, but is not on again: %v\n", h.Name, err)
		}
	}
	return nil
}

// incident names what a request belongs to, so that all attempts of one incident
// are one order: the epoch of the cluster, which counts the moves of the vote, or
// of the leader's key.
func (a *agent) incident(ctx context.Context, h *httpapi.HostView) (string, error) {
	if h.Cluster == "" {
		return "-/0/" + a.action, nil
	}
	epoch, err := a.epoch(ctx, h.Cluster)
	return fmt.Sprintf("%s/%d/%s", h.Cluster, epoch, a.action), err
}

// order gives one order and waits for its end. An order of the same incident
// that is under way is followed; one that is over stands for this one only if it
// was carried out and still holds.
func (a *agent) order(ctx context.Context, v *view, h *httpapi.HostView, op, incident string) error {
	from := a.asker(v)
	for n := 0; ; n++ {
		attempt := strconv.Itoa(n)
		if n >= maxAttempts {
			attempt = rand.Text()
		}
		body, err := a.send(ctx, h, from, op, fmt.Sprintf("fence_witness/%s/%s/%s/%s", incident, op, h.Name, attempt))
		if err != nil {
			return err
		}
		r := body.Request
		fresh := r.ID > v.Index // its id is the index of its entry
		if !fresh && over(r) && !a.holds(r, h, op) {
			continue
		}
		if err := a.follow(ctx, &body); err != nil {
			return err
		}
		if r = body.Request; r.Status != witness.StatusDone {
			return explain(r, body.Explain)
		}
		fmt.Fprintf(a.out, "%s: %s\n", h.Name, r.Msg)
		return nil
	}
}

// asker is the host that this machine is to the witnesses, or "": they refuse the
// side that lost the vote.
func (a *agent) asker(v *view) string {
	short, _, _ := strings.Cut(a.node, ".")
	for _, name := range []string{a.node, short} {
		if h, err := a.find(v, name); err == nil {
			return h.Name
		}
	}
	return ""
}

// holds says whether an older order that is over answers this one too.
func (a *agent) holds(r *witness.Request, h *httpapi.HostView, op string) bool {
	if r.Status != witness.StatusDone {
		return false
	}
	if a.action == "off" {
		return h.Fenced
	}
	recent := a.now().Sub(time.UnixMilli(r.Wall)).Abs() < repeatTime
	return recent || op == "off" && h.Fenced
}

func (a *agent) send(ctx context.Context, h *httpapi.HostView, from, op, key string) (httpapi.RequestBody, error) {
	var body httpapi.RequestBody
	err := a.client.post(ctx, "/v1/fences", httpapi.FenceOrder{
		Op: op, Host: h.Name, Requester: from, By: "fence_witness on " + a.node, Key: key,
		Timeout: orderTime.String(),
		Reason:  fmt.Sprintf("Pacemaker asks for %s of %s", a.action, a.plug),
	}, &body)
	var api *httpapi.Error
	switch {
	case errors.As(err, &api) && api.Request != 0: // it is over, and not done
		body.Request = &witness.Request{ID: api.Request, Status: witness.StatusFailed, Rule: api.Rule, Msg: api.Message}
		body.Explain = api.Explain
		if api.Code == witness.CodeRefused {
			body.Request.Status = witness.StatusRefused
		}
	case err != nil:
		return body, err
	case body.Request == nil:
		return body, errors.New("the answer is no witness's: it names no request")
	}
	return body, nil
}

func over(r *witness.Request) bool {
	return !r.Open()
}

// follow waits for the end of an order.
func (a *agent) follow(ctx context.Context, body *httpapi.RequestBody) error {
	id := body.Request.ID
	for !over(body.Request) {
		wait := pollTime
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
		if wait <= 0 || ctx.Err() != nil {
			return fmt.Errorf("order %d is not over within the time limit, and goes on; `witnessctl events` tells how", id)
		}
		var next httpapi.RequestBody
		query := url.Values{"wait": {wait.Round(time.Millisecond).String()}}
		if err := a.client.get(ctx, fmt.Sprintf("/v1/requests/%d", id), query, wait, &next); err != nil {
			return fmt.Errorf("order %d goes on, how it ends is not known: %w", id, err)
		}
		if next.Request != nil {
			*body = next
		}
	}
	return nil
}
