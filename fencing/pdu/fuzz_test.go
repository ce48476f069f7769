package pdu

import (
	"testing"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// FuzzReport: whatever packet comes, looking for a report in it does not panic.
func FuzzReport(f *testing.F) {
	f.Add(append([]byte{0x30, 0x20}, append(usmStats, 5, 0)...))
	f.Add(usmStats)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, packet []byte) {
		c := conn{latest: packet}
		_, _ = c.report()
	})
}

func TestReport(t *testing.T) {
	for counter, want := range map[byte]struct {
		says  bool
		stale bool
	}{1: {true, false}, 2: {false, true}, 3: {true, false}, 4: {false, true}, 5: {true, false}, 6: {true, false}, 7: {false, false}} {
		c := conn{latest: append(append([]byte{0x30, 0x7f, 0x02}, usmStats...), counter, 0, 0x41, 1, 1)}
		if why, stale := c.report(); (why != "") != want.says || stale != want.stale {
			t.Errorf("counter %d: %q, %v", counter, why, stale)
		}
	}
}

// FuzzJudge gives the status and the pending column values of every type and number. An outlet is off by the off number alone,
// as a number, with no command waiting.
func FuzzJudge(f *testing.F) {
	f.Add(0, 2, 2, uint8(gosnmp.Integer), uint8(gosnmp.Integer), true)
	f.Add(1, 1, 2, uint8(gosnmp.Gauge32), uint8(gosnmp.NoSuchInstance), false)
	f.Add(4, 2, 1, uint8(gosnmp.OctetString), uint8(gosnmp.Integer), true)
	f.Fuzz(func(t *testing.T, row, status, waiting int, statusType, waitingType uint8, seen bool) {
		m := &models[uint(row)%uint(len(models))]
		o := outlet{name: "1", index: make([]uint32, len(m.index))}
		d := &Device{model: m, outlets: []outlet{o}, seen: seen, pending: m.pending.oid != ""}
		values := []gosnmp.SnmpPDU{{Type: gosnmp.Asn1BER(statusType), Value: status}}
		var pending []gosnmp.SnmpPDU
		if d.pending {
			pending = []gosnmp.SnmpPDU{{Type: gosnmp.Asn1BER(waitingType), Value: waiting}}
		}
		parts, err := d.judge(values, pending)
		if err != nil {
			return
		}
		number := func(kind uint8) bool {
			return kind == uint8(gosnmp.Integer) || kind == uint8(gosnmp.Gauge32) || kind == uint8(gosnmp.Uinteger32)
		}
		off := number(statusType) && int64(status) == m.states.off
		if pending != nil && !(number(waitingType) && int64(waiting) == m.pending.idle) && (seen || !missing(pending[0])) {
			off = false
		}
		if (parts[0].State == fencing.PowerOff) != off {
			t.Errorf("%s: status %d (%v), pending %d (%v): %+v", m.name, status, gosnmp.Asn1BER(statusType), waiting, gosnmp.Asn1BER(waitingType), parts[0])
		}
	})
}
