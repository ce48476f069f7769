package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/manifest"
)

// attemptTime bounds one attempt at one witness, beside what it is told to wait.
const attemptTime = 20 * time.Second

// call is one request to the API.
type call struct {
	method string
	path   string
	query  url.Values
	body   []byte
	kind   string        // content type of the body
	wait   time.Duration // how long the witness is told to wait
	again  bool          // doing it twice does no harm
}

// get reads path into out.
func (a *app) get(ctx context.Context, path string, query url.Values, out any) error {
	if a.consistent {
		if query == nil {
			query = url.Values{}
		}
		query.Set("consistent", "1")
	}
	return a.send(ctx, call{method: http.MethodGet, path: path, query: query, again: true}, out)
}

// post sends in as JSON. again says that doing it twice does no harm.
func (a *app) post(ctx context.Context, path string, in any, again bool, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return a.send(ctx, call{method: http.MethodPost, path: path, body: raw, kind: "application/json", again: again}, out)
}

// send tries the witnesses in turn. A witness that is down, or has no quorum,
// leads to the next one; so does an answer to a read from a witness that is cut
// off, which is kept in case no other one is better.
func (a *app) send(ctx context.Context, c call, out any) error {
	var failures []error
	var noQuorum, old error
	var oldRaw []byte
	for _, server := range a.servers {
		raw, err := a.attempt(ctx, server, c)
		var api *httpapi.Error
		switch {
		case err == nil:
			if c.method == http.MethodGet && readOnly(raw) {
				oldRaw = raw
				continue
			}
			return decode(raw, out)
		case errors.As(err, &api) && api.Code == witness.CodeNoQuorum:
			noQuorum = api
			continue
		case errors.As(err, &api):
			if c.method == http.MethodGet && api.ReadOnly { // what it does not know, others may
				old = api
				continue
			}
			return api
		}
		failures = append(failures, fmt.Errorf("%s: %w", server, reason(err)))
		if ctx.Err() != nil || !c.again && !neverSent(err) {
			break
		}
	}
	switch {
	case oldRaw != nil:
		return decode(oldRaw, out)
	case old != nil:
		return old
	case noQuorum != nil:
		return noQuorum
	}
	return fmt.Errorf("no witness answers; is --server right, and do they run?\n  %w", errors.Join(failures...))
}

func decode(raw []byte, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = raw
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer is no witness's: %w", err)
	}
	return nil
}

// readOnly says whether an answer comes from a witness without quorum.
func readOnly(raw []byte) bool {
	var m httpapi.Meta
	return json.Unmarshal(raw, &m) == nil && m.ReadOnly
}

// neverSent says whether a failed request certainly had no effect.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// reason takes the method and the URL out of an error of net/http.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (a *app) attempt(ctx context.Context, server string, c call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime+c.wait)
	defer cancel()
	res, err := request(ctx, server, c)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 2*manifest.MaxBytes))
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, decodeError(res.StatusCode, raw)
	}
	return raw, nil
}

// request sends one request and returns the answer, whatever it says.
func request(ctx context.Context, server string, c call) (*http.Response, error) {
	target := server + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if c.kind != "" {
		req.Header.Set("Content-Type", c.kind)
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:       (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		Proxy:             http.ProxyFromEnvironment,
		DisableKeepAlives: true,
	}}
	return client.Do(req)
}

// path joins escaped parts to a path of the API.
func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}
