package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

const (
	// connectTime bounds a connection, so that a witness that swallows packets
	// does not eat the budget.
	connectTime = 3 * time.Second
	// attemptTime bounds one answer, beside what the witness is told to wait.
	attemptTime = 6 * time.Second
	// stagger is how long a witness may think before the next one is asked too.
	stagger = 400 * time.Millisecond
	// pause is how long the agent waits before it asks all witnesses again, when
	// none could answer: perhaps they are electing a leader.
	pause = 250 * time.Millisecond
	// maxAnswer bounds an answer.
	maxAnswer = 16 << 20
)

// client asks the witnesses. Only an answer with a quorum behind it counts.
type client struct {
	urls []string // the one that answered last first
	http *http.Client
}

func newClient(o options) (*client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", o.caFile)
		}
	}
	if o.certFile != "" {
		cert, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return &client{urls: o.urls, http: &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTime}).DialContext,
		TLSHandshakeTimeout: connectTime,
		TLSClientConfig:     config,
		DisableKeepAlives:   true,
	}}}, nil
}

// errNobody wraps why no witness could answer.
var errNobody = errors.New("no witness that has a quorum answers")

// get reads from whichever witness answers first. It goes on until the context
// ends, because witnesses that elect a leader answer soon.
func (c *client) get(ctx context.Context, path string, query url.Values, wait time.Duration, out any) error {
	if query == nil {
		query = url.Values{}
	}
	query.Set("consistent", "1")
	return c.until(ctx, func(ctx context.Context) ([]byte, error) {
		return c.race(ctx, path+"?"+query.Encode(), wait)
	}, out)
}

// post sends an order to one witness after the other until one takes it. The
// order's key makes that safe when an answer was lost on its way.
func (c *client) post(ctx context.Context, path string, order, out any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	return c.until(ctx, func(ctx context.Context) ([]byte, error) {
		var failed []error
		for i, u := range c.urls {
			raw, err := c.attempt(ctx, http.MethodPost, u, path, body, 0)
			if err == nil || final(err) {
				c.prefer(i)
				return raw, err
			}
			failed = append(failed, fmt.Errorf("%s: %w", u, err))
		}
		return nil, errors.Join(failed...)
	}, out)
}

// until repeats try until it succeeds, fails for good, or the time is over.
func (c *client) until(ctx context.Context, try func(context.Context) ([]byte, error), out any) error {
	var last error
	for {
		raw, err := try(ctx)
		if last == nil || ctx.Err() == nil { // what our own end did says nothing
			last = err
		}
		if err == nil {
			if err := json.Unmarshal(raw, out); err != nil {
				return fmt.Errorf("the answer is no witness's, is the url right? %w", err)
			}
			return nil
		}
		if final(err) {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return fmt.Errorf("%w within the time limit: %w", errNobody, last)
			}
			return fmt.Errorf("interrupted; what was ordered goes on: %w", last)
		case <-time.After(pause):
		}
	}
}

// race asks the witnesses one after the other without waiting long for any, and
// takes the first good answer.
func (c *client) race(ctx context.Context, path string, wait time.Duration) ([]byte, error) {
	type answer struct {
		i   int
		raw []byte
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	urls := c.urls // prefer replaces it
	answers := make(chan answer, len(urls))
	next, open := 0, 0
	start := func() {
		i := next
		next, open = next+1, open+1
		go func() {
			raw, err := c.attempt(ctx, http.MethodGet, urls[i], path, nil, wait)
			answers <- answer{i, raw, err}
		}()
	}
	start()
	var failed []error
	for {
		var hurry <-chan time.Time
		if next < len(urls) {
			hurry = time.After(stagger)
		}
		select {
		case <-hurry:
			start()
		case a := <-answers:
			if a.err == nil || final(a.err) {
				c.prefer(a.i)
				return a.raw, a.err
			}
			failed = append(failed, fmt.Errorf("%s: %w", urls[a.i], a.err))
			if open--; next < len(urls) {
				start()
			} else if open == 0 {
				return nil, errors.Join(failed...)
			}
		}
	}
}

// prefer moves a witness to the front.
func (c *client) prefer(i int) {
	urls := append([]string{c.urls[i]}, c.urls[:i]...)
	c.urls = append(urls, c.urls[i+1:]...)
}

// final says whether an error is an answer that another witness would give too.
func final(err error) bool {
	var api *httpapi.Error
	if !errors.As(err, &api) {
		return false
	}
	return !api.ReadOnly && api.Code != witness.CodeNoQuorum && api.Code != witness.CodeExhausted && api.Code != witness.CodeInternal
}

// attempt asks one witness once. A success without a quorum behind it is an error.
func (c *client) attempt(ctx context.Context, method, base, path string, body []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime+wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, brief(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, brief(err)
	}
	if res.StatusCode/100 != 2 {
		var api httpapi.Error
		if json.Unmarshal(raw, &api) != nil || api.Code == "" {
			return nil, fmt.Errorf("status %d, which is no witness's answer", res.StatusCode)
		}
		return nil, &api
	}
	var meta httpapi.Meta
	if json.Unmarshal(raw, &meta) == nil && meta.ReadOnly {
		return nil, errors.New("it has no quorum")
	}
	return raw, nil
}

// brief takes the method and the address out of an error of net/http.
func brief(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
