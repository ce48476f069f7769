package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// client writes a row every 20 ms on whatever host DNS names as primary, as an
// application without a cache would.
type client struct {
	name    string   // of the primary
	servers []string // DNS servers of the witnesses
	members []*member

	mu      sync.Mutex
	last    time.Time // last accepted row
	by      string    // who accepted it
	rows    int
	outages []outage
	double  string // two members that accepted writes at once
}

type outage struct {
	from, to time.Time
	old, new string
}

// silence is how long nothing is accepted before it counts as an outage.
const silence = 300 * time.Millisecond

func (c *client) run(ctx context.Context) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	web := &http.Client{Timeout: 500 * time.Millisecond}
	defer web.CloseIdleConnections()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		addr, err := lookup(ctx, c.servers[i%len(c.servers)], c.name)
		if err != nil || addr == "" {
			continue
		}
		if by, err := writeRow(ctx, web, addr); err == nil {
			c.accepted(by)
		}
	}
}

func (c *client) accepted(by string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.name != by && m.isPrimary() {
			c.double = by + " and " + m.name
		}
	}
	if !c.last.IsZero() && now.Sub(c.last) > silence {
		c.outages = append(c.outages, outage{from: c.last, to: now, old: c.by, new: by})
	}
	c.last, c.by = now, by
	c.rows++
}

// seen returns who accepted the last row, how many there are, and the outages.
func (c *client) seen() (by string, rows int, outages []outage, double string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by, c.rows, append([]outage(nil), c.outages...), c.double
}

func writeRow(ctx context.Context, web *http.Client, addr string) (by string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(addr, dbPort)+"/row", nil)
	if err != nil {
		return "", err
	}
	res, err := web.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 100))
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), nil
}

// lookup asks one DNS server for the address of a name; "" when it has none.
func lookup(ctx context.Context, server, name string) (string, error) {
	msg := new(dns.Msg)
	msg.SetQuestion(name, dns.TypeA)
	res, _, err := (&dns.Client{Timeout: 500 * time.Millisecond}).ExchangeContext(ctx, msg, server)
	if err != nil {
		return "", err
	}
	if res.Rcode != dns.RcodeSuccess {
		return "", fmt.Errorf("%s answers %s", server, strings.ToLower(dns.RcodeToString[res.Rcode]))
	}
	for _, rr := range res.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String(), nil
		}
	}
	return "", nil
}
