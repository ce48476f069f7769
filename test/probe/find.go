package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/miekg/dns"
)

// dnsTimeout bounds one question to one server.
const dnsTimeout = 500 * time.Millisecond

// Dial opens a connection; a lab's host gives one that starts inside that host.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Finder tells where the primary may be.
type Finder interface {
	// Find returns addresses (without port) to try in this order. It fails if
	// nothing is known of the primary now.
	Find(ctx context.Context) ([]string, error)
}

// Static is a Finder that knows all the hosts and not which one is the primary.
type Static []string

var _ Finder = Static(nil)

// Find returns all hosts.
func (s Static) Find(context.Context) ([]string, error) { return s, nil }

// DNS is a Finder that asks authoritative servers for a name's addresses, each
// time anew.
type DNS struct {
	// Name is the fully qualified name of the primary.
	Name string
	// Servers are the servers' addresses with port, asked in random order until
	// one of them answers.
	Servers []string
	Dial    Dial
}

var _ Finder = DNS{}

// Find returns the addresses of the first answer that has any.
func (d DNS) Find(ctx context.Context) ([]string, error) {
	var errs []error
	for _, i := range rand.Perm(len(d.Servers)) {
		addresses, err := ask(ctx, d.Dial, d.Servers[i], d.Name)
		if err == nil && len(addresses) == 0 {
			err = errors.New("no address")
		}
		if err == nil {
			return addresses, nil
		}
		errs = append(errs, fmt.Errorf("%s from %s: %w", d.Name, d.Servers[i], err))
	}
	return nil, errors.Join(errs...)
}

// ask sends one question for A records over UDP. NXDOMAIN and no data are an
// empty answer, any other response code is an error.
func ask(ctx context.Context, dial Dial, server, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	conn, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := dns.Client{Timeout: dnsTimeout}
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	reply, _, err := client.ExchangeWithConn(question, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[reply.Rcode])
	}
	var addresses []string
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			addresses = append(addresses, a.A.String())
		}
	}
	return addresses, nil
}
