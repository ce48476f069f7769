package pdu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// retries of a reading within one call. A Set is never repeated inside a call: the state is read first.
const retries = 4

// session is one GoSNMP, which is not safe for concurrent use, with the deadlines that it lacks: a request ends when its
// context does, also by cancellation.
type session struct {
	snmp *gosnmp.GoSNMP
	conn *conn
}

func (d *Device) dial(ctx context.Context) (*session, error) {
	c := d.config
	snmp := &gosnmp.GoSNMP{
		Target: d.host, Port: d.port, Transport: "udp", Version: versions[c.Version], Community: c.Community,
		Timeout: c.Timeout, Retries: retries, MaxOids: gosnmp.MaxOids, Context: ctx,
	}
	if snmp.Version == gosnmp.Version3 {
		snmp.SecurityModel, snmp.MsgFlags, snmp.ContextName = gosnmp.UserSecurityModel, gosnmp.AuthPriv, c.Context
		snmp.SecurityParameters = &gosnmp.UsmSecurityParameters{
			UserName:               c.Username,
			AuthenticationProtocol: authKinds[c.AuthProtocol], AuthenticationPassphrase: c.AuthPassword,
			PrivacyProtocol: privKinds[c.PrivProtocol], PrivacyPassphrase: c.PrivPassword,
		}
	}
	if err := snmp.Connect(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("cannot reach %s: %w", c.Address, err)
	}
	s := &session{snmp: snmp, conn: &conn{Conn: snmp.Conn}}
	snmp.Conn = s.conn
	return s, nil
}

func (s *session) close() error { return s.conn.Conn.Close() }

// engine is the identity of the SNMP engine that authenticates the answers; empty before version 3.
func (s *session) engine() string {
	if usm, ok := s.snmp.SecurityParameters.(*gosnmp.UsmSecurityParameters); ok {
		return fmt.Sprintf("%x", usm.AuthoritativeEngineID)
	}
	return ""
}

func (s *session) get(ctx context.Context, oids []string) (answer, error) {
	s.snmp.Retries = retries
	return s.ask(ctx, oids, func() (*gosnmp.SnmpPacket, error) { return s.snmp.Get(oids) })
}

func (s *session) set(ctx context.Context, oids []string, value int) (answer, error) {
	s.snmp.Retries = 0
	binds := make([]gosnmp.SnmpPDU, len(oids))
	for i, oid := range oids {
		binds[i] = gosnmp.SnmpPDU{Name: oid, Type: gosnmp.Integer, Value: value}
	}
	return s.ask(ctx, oids, func() (*gosnmp.SnmpPacket, error) { return s.snmp.Set(binds) })
}

// answer is what the PDU answered.
type answer struct {
	status gosnmp.SNMPError
	index  int // of the variable that status is about, from 0; -1: none
	values []gosnmp.SnmpPDU
}

// ask sends a request. Its error means that there was no usable answer; ErrPermanent that there will be none.
func (s *session) ask(ctx context.Context, oids []string, send func() (*gosnmp.SnmpPacket, error)) (answer, error) {
	s.snmp.Context = ctx
	defer s.conn.begin(ctx)()
	packet, err := send()
	report, stale := s.conn.report()
	switch {
	case stale && (err != nil || packet.PDUType == gosnmp.Report):
		return answer{}, errStale
	case report != "" && (err != nil || packet.PDUType == gosnmp.Report):
		return answer{}, fmt.Errorf("%w: %s", fencing.ErrPermanent, report)
	case ctx.Err() != nil:
		return answer{}, fmt.Errorf("no answer: %w", context.Cause(ctx))
	case errors.Is(err, gosnmp.ErrMaxRetriesExceeded), errors.Is(err, context.DeadlineExceeded):
		return answer{}, fmt.Errorf("no answer within %v", s.snmp.Timeout*time.Duration(s.snmp.Retries+1))
	case err != nil:
		return answer{}, err
	case packet.PDUType != gosnmp.GetResponse || packet.RequestID == 0: // gosnmp takes a zero for the answer to anything
		return answer{}, fmt.Errorf("the answer is a %v with id %d, and no answer to the request", packet.PDUType, packet.RequestID)
	}
	a := answer{status: packet.Error, index: int(packet.ErrorIndex) - 1, values: packet.Variables}
	if a.status != gosnmp.NoError {
		return a, nil
	}
	if len(a.values) != len(oids) {
		return answer{}, fmt.Errorf("the answer has %d values, asked for were %d", len(a.values), len(oids))
	}
	for i, v := range a.values {
		if v.Name != oids[i] {
			return answer{}, fmt.Errorf("the answer is about %s, asked for was %s", v.Name, oids[i])
		}
	}
	return a, nil
}

// conn makes gosnmp's reads end with the context of the call that is running, and keeps the latest packet: gosnmp discards
// the reports by which a PDU says that it rejects a user, since they cannot be authenticated.
type conn struct {
	net.Conn
	mu      sync.Mutex
	running *int // identity of the call
	ended   bool
	latest  []byte
}

// begin starts a call; the function that it returns ends it.
func (c *conn) begin(ctx context.Context) func() {
	call := new(int)
	c.mu.Lock()
	c.running, c.ended, c.latest = call, false, nil
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running == call {
			c.ended = true
			_ = c.Conn.SetDeadline(time.Unix(1, 0)) // of a closed connection only
		}
	})
	return func() {
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running = nil
	}
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		t = time.Unix(1, 0)
	}
	return c.Conn.SetDeadline(t)
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = append(c.latest[:0], p[:n]...)
	return n, err
}

// usmStats is 1.3.6.1.6.3.15.1.1 in BER; the next byte is the counter, the one after it 0 (RFC 3414, section 5).
var usmStats = []byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x06, 0x03, 0x0f, 0x01, 0x01}

// errStale: the PDU has restarted with another engine id, or with its time lost. A new session finds out which.
var errStale = errors.New("the PDU has restarted: its SNMP engine is another one than before")

// report is the reason for which the latest packet rejects the user, in the operator's words; empty if it does not. stale
// is for a PDU that does not know its own engine any more. Nobody vouches for a report, so it only ever makes a call fail.
func (c *conn) report() (why string, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := bytes.Index(c.latest, usmStats)
	if i < 0 || i+len(usmStats) >= len(c.latest) {
		return "", false
	}
	switch c.latest[i+len(usmStats)] {
	case 1:
		return "the PDU does not let this user log in with authentication and privacy", false
	case 2, 4: // notInTimeWindows, unknownEngineIDs: what gosnmp could not take care of itself
		return "", true
	case 3:
		return "the PDU does not know this user: check username", false
	case 5:
		return "the PDU rejects the login: check auth_password and auth_protocol", false
	case 6:
		return "the PDU cannot decrypt the request: check priv_password and priv_protocol", false
	default:
		return "", false
	}
}
