package witness

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"quorate/witness/kv"
)

func putOf(size int) Txn {
	return Txn{Req: kv.TxnRequest{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("/bench/0001"), Value: []byte(strings.Repeat("v", size))}}}}}
}

// corpus is commands of many shapes, with characters that JSON escapes.
func corpus() []Command {
	return []Command{
		Touch{},
		Bootstrap{},
		putOf(0), putOf(256),
		LeaseGrant{ID: 1, TTL: 2},
		LeaseRevoke{},
		LeaseExpire{},
		LeaseCheckpoint{},
		Compact{},
		Configure{},
		Observe{},
		RequestCmd{},
		PlanCmd{},
		Finished{Action: `a"b}<&>\u2028,"c":`, Reason: "ü\x00\xff", Evidence: json.RawMessage(`{ "k" : "<}" , "c" : [ 1 ] }`)},
	}
}

// The log form is that of an envelope, byte by byte: witnesses of all versions
// read and write the same log.
func TestEncodeCommandIsAnEnvelope(t *testing.T) {
	for _, c := range corpus() {
		s := Stamp{Time: 12345, Wall: -7}
		got, err := EncodeCommand(c, s)
		if err != nil {
			t.Fatal(err)
		}
		cmd, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(envelope{Kind: c.kind(), Stamp: &s, Cmd: cmd})
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if _, _, ok := decodePlain(got); !ok {
			t.Errorf("the short way does not read %s", got)
		}
	}
}

// FuzzDecodeBothWays: what the short way reads, the long way reads alike.
func FuzzDecodeBothWays(f *testing.F) {
	for _, c := range corpus() {
		raw, err := EncodeCommand(c, Stamp{Time: 1, Wall: 2})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, odd := range []string{
		`{"k":"touch","s":{"t":1,"w":2},"c":{},"k":"compact"}`,
		`{"k":"touch","s":{"t":1,"w":2},"c":{},"c":{"x":{}}}`,
		`{"k":"touch","s":{"t":1,"w":2,"x":{}},"c":{}}`,
		`{"k":"touch","s":{"t":1,"w":2},"c": {} }`,
		`{"k":"touch","s":{"t":1,"T":3,"w":2},"c":null}`,
		`{"k":"touch","s":null,"c":{}}`,
		`{"k":"touch","s":{"t":1},"C":{},"c":{}}`,
		`{"k":"lease-grant","s":{"t":1,"w":2},"c":{"id":1},"s":{"t":9}}`,
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, s, ok := decodePlain(raw)
		if !ok {
			return
		}
		c2, s2, err := decodeAny(raw)
		if err != nil || s != s2 || !reflect.DeepEqual(c, c2) {
			t.Errorf("%q\nshort %#v %v\nlong  %#v %v %v", raw, c, s, c2, s2, err)
		}
	})
}

func BenchmarkDecodeCommand(b *testing.B) {
	raw, err := EncodeCommand(putOf(256), Stamp{Time: 1e9, Wall: 1e12})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := DecodeCommand(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("any", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := decodeAny(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncodeCommand(b *testing.B) {
	c := putOf(256)
	for b.Loop() {
		if _, err := EncodeCommand(c, Stamp{Time: 1e9, Wall: 1e12}); err != nil {
			b.Fatal(err)
		}
	}
}
