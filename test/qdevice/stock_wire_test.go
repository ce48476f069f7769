//go:build integration

package qdevice

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

// TestStrictAsStock sends thousands of options, well and badly formed, to the
// real server inside echo requests, which it decodes before it answers. Whatever
// it takes for an error our decoder must, and nothing else, but for a name with a
// NUL.
func TestStrictAsStock(t *testing.T) {
	address := stock(t, "off", t.TempDir())
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * bound))
	r := wire.NewReader(conn, wire.MaxMessage)
	ask := func(raw []byte) wire.Message {
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
		f, err := r.Next()
		if err != nil {
			t.Fatalf("after % x: %v", raw, err)
		}
		if f.Type == wire.TypeEchoReply { // its body is ours
			return wire.EchoReply{Body: f.Body}
		}
		m, err := wire.Decode(f)
		if err != nil {
			t.Fatalf("our decoder refuses what the server says: %v", err)
		}
		return m
	}
	message := func(m wire.Message) []byte {
		raw, err := wire.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	ask(message(wire.Preinit{Seq: 1, Cluster: "labcluster"}))
	ask(message(wire.Init{
		Seq: 2, Messages: wire.Types(), Options: wire.Options(), NodeID: 1, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: 120000,
		TieBreaker: wire.TieBreaker{Mode: wire.TieLowest}, Ring: wire.RingID{NodeID: 1, Seq: 9},
	}))

	asked, refused := 0, 0
	var differ []string
	for _, body := range bodies() {
		raw := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
		binary.BigEndian.PutUint16(raw, uint16(wire.TypeEchoRequest))
		binary.BigEndian.PutUint32(raw[2:], uint32(len(body)))
		_, ours := wire.Decode(wire.Frame{Type: wire.TypeEchoRequest, Body: body})
		var theirs bool
		switch m := ask(append(raw, body...)).(type) {
		case wire.ServerError:
			if m.Code != wire.ErrorDecodingMessage {
				t.Fatalf("% x is answered %v", body, m.Code)
			}
			theirs = true
		case wire.EchoReply:
			if !bytes.Equal(m.Body, body) {
				t.Errorf("echo of % x is % x", body, m.Body)
			}
		default:
			t.Fatalf("% x is answered %+v", body, m)
		}
		asked++
		if theirs {
			refused++
		}
		// A name with a NUL is another name in C: ours is stricter on purpose.
		if ours != nil && strings.Contains(ours.Error(), "CLUSTER_NAME has a NUL") {
			continue
		}
		if theirs != (ours != nil) {
			differ = append(differ, fmt.Sprintf("% x: the server refuses it: %t; ours: %v", body, theirs, ours))
		}
	}
	t.Logf("%d messages, of which the server refuses %d", asked, refused)
	for i, d := range differ {
		if i == 20 {
			t.Errorf("and %d more", len(differ)-i)
			break
		}
		t.Error(d)
	}
}

// bodies are options of every number and many lengths and values, alone and
// inside NODE_INFO, each with a sequence number before, and some broken frames.
func bodies() [][]byte {
	seq := []byte{0, 0, 0, 4, 0, 0, 0, 7}
	option := func(number int, value []byte) []byte {
		out := binary.BigEndian.AppendUint16(nil, uint16(number))
		return append(binary.BigEndian.AppendUint16(out, uint16(len(value))), value...)
	}
	var out [][]byte
	add := func(parts ...[]byte) { out = append(out, bytes.Join(append([][]byte{seq}, parts...), nil)) }
	for number := range 26 {
		for length := range 15 {
			for _, first := range []byte{0, 1, 2, 3, 4, 5, 6, 255} {
				for _, rest := range []byte{0, 1} {
					value := bytes.Repeat([]byte{rest}, length)
					if length > 0 {
						value[0] = first
					}
					add(option(number, value))
					if number == int(wire.OptNodeID) || number == int(wire.OptDataCenterID) || number == int(wire.OptNodeState) || number == 25 {
						add(option(int(wire.OptNodeInfo), option(number, value)))
						add(option(int(wire.OptNodeInfo), append(option(int(wire.OptNodeID), []byte{0, 0, 0, 1}), option(number, value)...)))
					}
				}
			}
		}
	}
	for cut := 1; cut < len(seq); cut++ {
		out = append(out, seq[:cut])
		add(seq[:cut])
		add(option(int(wire.OptNodeInfo), seq[:cut]))
	}
	add(option(int(wire.OptNodeInfo), append(option(int(wire.OptNodeID), []byte{0, 0, 0, 1}), 0)))
	return out
}
