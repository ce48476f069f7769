package ipmi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"
)

// suite is one cipher suite (IPMI 2.0, table 22-20) that authenticates and encrypts every message.
type suite struct {
	auth      types.AuthAlg
	integrity types.IntegrityAlg
	crypt     types.CryptAlg
}

var suites = map[int]suite{
	17: {types.AuthAlg_HMAC_SHA256, types.IntegrityAlg_HMAC_SHA256_128, types.CryptAlg_AES_CBC_128},
	3:  {types.AuthAlg_HMAC_SHA1, types.IntegrityAlg_HMAC_SHA1_96, types.CryptAlg_AES_CBC_128},
}

// Layout of an RMCP+ datagram (IPMI 2.0, table 13-8): 4 bytes of RMCP header, authentication type, payload type,
// session ID (4), sequence (4), payload length (2), payload, and in a session the trailer.
const (
	offAuthType = 4
	offType     = 5
	offSession  = 6
	offSequence = 10
	offLength   = 14
	offPayload  = 16

	rmcpPlus  = 0x06
	inSession = 0xc0 // payload type IPMI with bit 7, encrypted, and bit 6, authenticated

	openSession = 0x10
	rakp1       = 0x12
	rakp3       = 0x14

	blockSize    = 16 // of AES
	maxDatagrams = 64 // dropped in a row before a call fails: somebody floods the port
)

// guard stands between the library and the network. A datagram reaches the library only if it is the answer that the
// latest request asks for, and, inside the session, if it carries the session's authentication code, a newer sequence
// number and a payload that can be decrypted. Everything else is dropped as if it had never arrived.
type guard struct {
	net.Conn
	user, password string
	suite          suite

	mu          sync.Mutex
	awaited     byte // payload type of the answer
	consoleRand []byte
	bmcRand     []byte
	console     uint32 // our session ID
	k1, k2      []byte // of the session, once RAKP message 2 is in
	newest      uint32 // sequence number
	dropped     int
}

// dial makes a connected socket: datagrams from other addresses do not arrive.
func dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "udp", address)
}

// Write notes which answer is due, and the console's random number, from which the keys derive.
func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	switch kind := payloadType(p); kind {
	case openSession, rakp1, rakp3:
		g.awaited = kind + 1
		if kind == openSession {
			g.k1, g.k2, g.newest = nil, nil, 0
			g.console = binary.LittleEndian.Uint32(p[offPayload+4:])
		}
		if kind == rakp1 {
			g.consoleRand = bytes.Clone(p[offPayload+8 : offPayload+24])
		}
	case inSession:
		g.awaited = inSession
	default:
		g.mu.Unlock()
		return 0, fmt.Errorf("refused to send payload type %#x outside of a protected session", kind)
	}
	g.mu.Unlock()
	return g.Conn.Write(p)
}

// Read returns the next datagram that passes.
func (g *guard) Read(p []byte) (int, error) {
	for range maxDatagrams {
		n, err := g.Conn.Read(p)
		if err != nil {
			return 0, err
		}
		if g.passes(p[:n]) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%d answers in a row belonged to no request: something else sends from the BMC's address", maxDatagrams)
}

func (g *guard) passes(p []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.sound(p) {
		g.dropped++
		return false
	}
	return true
}

// sound judges a datagram. It needs g.mu.
func (g *guard) sound(p []byte) bool {
	if g.awaited == 0 || payloadType(p) != g.awaited { // nothing was asked yet, or something else
		return false
	}
	length := int(binary.LittleEndian.Uint16(p[offLength:]))
	session := binary.LittleEndian.Uint32(p[offSession:])
	if len(p) < offPayload+length {
		return false
	}
	payload := p[offPayload : offPayload+length]
	switch g.awaited {
	case inSession:
		return session == g.console && g.authentic(p, length) && g.decrypts(payload) && g.isNewer(p)
	case rakp1 + 1:
		if session != 0 || len(payload) < 8 {
			return false
		}
		if len(payload) >= 40 && payload[1] == 0 {
			g.bmcRand = bytes.Clone(payload[8:24])
		}
		return true
	default:
		return session == 0 && len(payload) >= 8
	}
}

// derive makes the session's keys. role is the byte of RAKP message 1.
func (g *guard) derive(role byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, k1, k2, err := crypto.DeriveSessionKeys(g.suite.auth, g.consoleRand, g.bmcRand, role, g.user, crypto.PadPassword20([]byte(g.password)))
	if err != nil {
		return fmt.Errorf("deriving the session's keys: %w", err)
	}
	g.k1, g.k2 = k1, k2
	return nil
}

// authentic compares the trailer's code: pad, pad length, next header, code (IPMI 2.0, 13.28.4).
func (g *guard) authentic(p []byte, length int) bool {
	size, _ := crypto.IntegrityAuthCodeLen(g.suite.integrity)
	end := offPayload + length + types.IntegrityPadLen(offPayload-offAuthType, length) + 2
	if g.k1 == nil || len(p) != end+size {
		return false
	}
	code, err := crypto.SessionIntegrityAuthCode(g.suite.integrity, bytes.Clone(p[offAuthType:end]), g.k1, "")
	return err == nil && hmac.Equal(code, p[end:])
}

// decrypts makes sure that the library, which trusts the padding, can take the payload apart. It holds an IPMI message of
// at least 8 bytes.
func (g *guard) decrypts(payload []byte) bool {
	if len(payload) < 2*blockSize || len(payload)%blockSize != 0 || len(g.k2) < blockSize {
		return false
	}
	plain, err := crypto.DecryptAES(bytes.Clone(payload[blockSize:]), g.k2[:blockSize], payload[:blockSize])
	if err != nil || len(plain) == 0 {
		return false
	}
	return len(plain)-int(plain[len(plain)-1])-1 >= 8
}

// isNewer drops what was answered before: a recorded "off" must not count a second time.
func (g *guard) isNewer(p []byte) bool {
	sequence := binary.LittleEndian.Uint32(p[offSequence:])
	if int32(sequence-g.newest) <= 0 {
		return false
	}
	g.newest = sequence
	return true
}

// payloadType is 0 for anything but an RMCP+ datagram of class IPMI.
func payloadType(p []byte) byte {
	if len(p) < offPayload || p[0] != 0x06 || p[3]&0x1f != 0x07 || p[offAuthType] != rmcpPlus {
		return 0
	}
	return p[offType]
}

// droppedSoFar is how many datagrams were not let through.
func (g *guard) droppedSoFar() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dropped
}
