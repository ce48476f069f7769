package dnsfailover

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// Sizes of DNS cookies: RFC 7873 section 4, and RFC 9018 section 4 for the
// server's part (version, reserved, timestamp, hash).
const (
	clientCookie    = 8
	serverCookie    = 16
	minServerCookie = 8
	maxServerCookie = 32
)

// Times of RFC 9018 section 4.3, in seconds.
const (
	cookieLife  = 3600 // a server cookie counts for an hour
	cookieAhead = 300  // and may be that far in the future
)

// secretLife is how long one secret makes new cookies; those that the one before
// made stay valid for their life. RFC 7873 section 7.1 asks for at most 36 days.
const secretLife = 24 * time.Hour

// cookies makes and checks server cookies. A client that returns a valid one has
// received a reply at its address: it is not forged.
type cookies struct {
	secrets atomic.Pointer[[2][2]uint64] // the present one and the one before
}

func newCookies() *cookies {
	c := &cookies{}
	c.secrets.Store(&[2][2]uint64{newSecret(), newSecret()})
	return c
}

func newSecret() (s [2]uint64) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand
	s[0], s[1] = binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])
	return s
}

// roll begins a new secret.
func (c *cookies) roll() {
	c.secrets.Store(&[2][2]uint64{newSecret(), c.secrets.Load()[0]})
}

// goodCookie says whether the data of a COOKIE option has a length that RFC 7873
// section 5.2.2 allows; anything else is a format error.
func goodCookie(data []byte) bool {
	server := len(data) - clientCookie
	return server == 0 || server >= minServerCookie && server <= maxServerCookie
}

// valid says whether data carries a server cookie of ours for this client.
func (c *cookies) valid(data []byte, client netip.Addr, now uint32) bool {
	if len(data) != clientCookie+serverCookie || data[8] != 1 {
		return false
	}
	if age := int32(now - binary.BigEndian.Uint32(data[12:])); age > cookieLife || age < -cookieAhead {
		return false // RFC 1982 arithmetic
	}
	want := binary.LittleEndian.Uint64(data[16:])
	for _, secret := range c.secrets.Load() {
		if cookieHash(secret, data[:16], client) == want {
			return true
		}
	}
	return false
}

// fill writes client and server cookie for a client into dst, which holds 24 bytes.
func (c *cookies) fill(dst, data []byte, client netip.Addr, now uint32) {
	copy(dst, data[:clientCookie])
	dst[8], dst[9], dst[10], dst[11] = 1, 0, 0, 0
	binary.BigEndian.PutUint32(dst[12:], now)
	binary.LittleEndian.PutUint64(dst[16:], cookieHash(c.secrets.Load()[0], dst[:16], client))
}

// cookieHash is SipHash-2-4 over client cookie, version, reserved, timestamp and
// the client's address: RFC 9018 section 4.4.
func cookieHash(secret [2]uint64, head []byte, client netip.Addr) uint64 {
	var buf [32]byte
	n := copy(buf[:], head[:16])
	if client.Is4() {
		a := client.As4()
		n += copy(buf[n:], a[:])
	} else {
		a := client.As16()
		n += copy(buf[n:], a[:])
	}
	return siphash.Hash(secret[0], secret[1], buf[:n])
}

// optionOf returns the first option with a code.
func optionOf(opt *dns.OPT, code uint16) (dns.EDNS0, bool) {
	for _, o := range opt.Option {
		if o.Option() == code {
			return o, true
		}
	}
	return nil, false
}
