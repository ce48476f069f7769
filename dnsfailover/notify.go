package dnsfailover

import (
	"context"
	"log/slog"
	"time"

	"github.com/miekg/dns"
)

// Times of a NOTIFY, RFC 1996 section 3.6: a few tries with growing pauses. A
// secondary that misses them all asks by itself at the SOA's REFRESH.
const (
	notifyTimeout = 2 * time.Second
	notifyTries   = 5
)

// notifier tells one secondary of changes, the newest one only.
type notifier struct {
	to     Secondary
	key    Key
	log    *slog.Logger
	wake   chan struct{} // one token: something has changed
	latest func() *published
	told   map[string]uint32 // zone → serial that was acknowledged
	sent   func(outcome string)
}

// run notifies until ctx ends.
func (n *notifier) run(ctx context.Context) {
	n.told = map[string]uint32{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		p := n.latest()
		if p == nil {
			continue
		}
		for apex, z := range p.ix.zones {
			if serial := z.soa().Serial; n.told[apex] != serial && n.tell(ctx, z) {
				n.told[apex] = serial
			}
		}
	}
}

// tell sends one NOTIFY until it is acknowledged, given up, or overtaken.
func (n *notifier) tell(ctx context.Context, z *zoneIndex) bool {
	m := new(dns.Msg).SetNotify(z.apex)
	m.Answer = []dns.RR{z.soa()}
	client := &dns.Client{Timeout: notifyTimeout}
	if n.key.Name != "" {
		client.TsigSecret = map[string]string{n.key.Name: n.key.Secret}
		m.SetTsig(n.key.Name, n.key.Algorithm, 300, time.Now().Unix())
	}
	pause := 500 * time.Millisecond
	for try := range notifyTries {
		ask := m.Copy()
		ask.Id = dns.Id()
		reply, _, err := client.ExchangeContext(ctx, ask, n.to.Addr.String())
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil && reply.Rcode == dns.RcodeSuccess:
			n.sent("acknowledged")
			return true
		case err == nil:
			n.log.Warn("a secondary refuses NOTIFY: it will find the change when its refresh time is over; check its list of masters and keys",
				"secondary", n.to.Addr, "zone", z.apex, "rcode", dns.RcodeToString[reply.Rcode])
			n.sent("refused")
			return true
		case try == notifyTries-1:
			n.log.Warn("a secondary does not answer NOTIFY: it will find the change when its refresh time is over",
				"secondary", n.to.Addr, "zone", z.apex, "err", err)
			n.sent("unanswered")
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-n.wake: // a newer change: tell that one
			select {
			case n.wake <- struct{}{}:
			default:
			}
			return false
		case <-time.After(pause):
		}
		pause *= 2
	}
	return false
}

// changed wakes the notifier.
func (n *notifier) changed() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
