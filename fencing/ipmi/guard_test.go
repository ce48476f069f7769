package ipmi

import (
	"encoding/binary"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"
)

// FuzzGuard feeds datagrams to a guard in a session. Whatever they hold, it neither panics nor lets one through: the fuzzer
// has no key.
func FuzzGuard(f *testing.F) {
	packet := func(kind byte, payload int) []byte {
		p := make([]byte, offPayload+payload+18)
		copy(p, []byte{6, 0, 0xff, 7, rmcpPlus, kind})
		binary.LittleEndian.PutUint32(p[offSession:], 7)
		binary.LittleEndian.PutUint16(p[offLength:], uint16(payload))
		return p
	}
	f.Add(packet(inSession, 48), byte(4))
	f.Add(packet(inSession, 3), byte(4))
	f.Add(packet(inSession, 0), byte(4))
	f.Add(packet(rakp1+1, 60), byte(2))
	f.Add(packet(rakp1+1, 8), byte(2))
	f.Add(packet(openSession+1, 4), byte(1))
	f.Add([]byte{6, 0, 0xff, 7}, byte(4))
	f.Add([]byte("0"), byte(0)) // before anything was asked: found by the fuzzer
	kinds := []byte{0, openSession + 1, rakp1 + 1, rakp3 + 1, inSession}
	f.Fuzz(func(t *testing.T, p []byte, kind byte) {
		g := &guard{suite: suites[17], awaited: inSession, console: 7, k1: make([]byte, 32), k2: make([]byte, 32)}
		if g.passes(p) {
			t.Errorf("%x passed without the key", p)
		}
		g.awaited = kinds[int(kind)%len(kinds)]
		if g.passes(p) {
			// What passes before the session must be something that the library can unpack.
			if err := new(types.Rmcp).Unpack(p); err != nil {
				t.Errorf("%x passed, but cannot be unpacked: %v", p, err)
			}
		}
	})
}
