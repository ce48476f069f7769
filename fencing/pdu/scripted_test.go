package pdu

import (
	"errors"
	"flag"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// TestMain lets many tests wait at the same time: they wait for agents that never come round, and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	m.Run()
}

// agent is a UDP socket that answers in version 2c as a test writes down, for what no real agent at hand does: real ones are
// in test/fencing. It has the outlets of an APC Rack PDU.
type agent struct {
	on map[string]bool // by the outlet's number
	// set answers a Set; nil carries it out. It may change the answer, or return nil for none.
	set func(req, answer *gosnmp.SnmpPacket) *gosnmp.SnmpPacket
	// get may change the answer to a Get of outlets.
	get func(answer *gosnmp.SnmpPacket)

	mu   sync.Mutex
	sets [][]string // the outlets of each Set
}

func (a *agent) serve(t *testing.T) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		codec := &gosnmp.GoSNMP{Version: gosnmp.Version2c, Community: "private"}
		buf := make([]byte, 65536)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			req, err := codec.SnmpDecodePacket(buf[:n])
			if err != nil {
				t.Error(err)
				return
			}
			if answer := a.answer(req); answer != nil {
				raw, err := answer.MarshalMsg()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = l.WriteTo(raw, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		done.Wait()
	})
	return l.LocalAddr().String()
}

func (a *agent) answer(req *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &gosnmp.SnmpPacket{
		Version: gosnmp.Version2c, Community: "private", PDUType: gosnmp.GetResponse, RequestID: req.RequestID, Variables: req.Variables,
	}
	if req.PDUType == gosnmp.SetRequest {
		var outlets []string
		for _, v := range req.Variables {
			outlets = append(outlets, v.Name[strings.LastIndex(v.Name, ".")+1:])
		}
		a.sets = append(a.sets, outlets)
		if a.set != nil {
			return a.set(req, out)
		}
		a.obey(req)
		return out
	}
	for i, v := range req.Variables {
		out.Variables[i] = a.value(v.Name)
	}
	if a.get != nil && req.Variables[0].Name != sysObjectID {
		a.get(out)
	}
	return out
}

func (a *agent) obey(req *gosnmp.SnmpPacket) {
	for _, v := range req.Variables {
		a.on[v.Name[strings.LastIndex(v.Name, ".")+1:]] = v.Value == 1
	}
}

func (a *agent) value(oid string) gosnmp.SnmpPDU {
	outlet := oid[strings.LastIndex(oid, ".")+1:]
	on, known := a.on[outlet]
	switch {
	case oid == sysObjectID:
		return gosnmp.SnmpPDU{Name: oid, Type: gosnmp.ObjectIdentifier, Value: ".1.3.6.1.4.1.318.1.3.4.5"}
	case oid == sysName:
		return gosnmp.SnmpPDU{Name: oid, Type: gosnmp.OctetString, Value: "pdu-a"}
	case known && strings.HasPrefix(oid, ".1.3.6.1.4.1.318.1.1.12.3.5.1.1.4."):
		return gosnmp.SnmpPDU{Name: oid, Type: gosnmp.Integer, Value: map[bool]int{true: 1, false: 2}[on]}
	default: // no column of pending commands: an older firmware
		return gosnmp.SnmpPDU{Name: oid, Type: gosnmp.NoSuchInstance}
	}
}

func refuse(status gosnmp.SNMPError, index uint8) func(_, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
	return func(_, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
		out.Error, out.ErrorIndex = status, index
		return out
	}
}

func TestScriptedAgents(t *testing.T) {
	t.Parallel()
	limit := fencing.Timing{Attempt: 6 * time.Second, Contact: time.Minute, Call: time.Minute}
	for name, c := range map[string]struct {
		script func(a *agent)
		want   fencing.Outcome
		says   string
	}{
		"healthy": {func(*agent) {}, fencing.Confirmed, ""},
		"takes one outlet per request": {func(a *agent) {
			a.set = func(req, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
				if len(req.Variables) > 1 {
					return refuse(gosnmp.TooBig, 0)(req, out)
				}
				a.obey(req)
				return out
			}
		}, fencing.Confirmed, ""},
		"carries half of it out and refuses": {func(a *agent) {
			a.set = func(req, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
				a.on["3"] = false
				return refuse(gosnmp.NotWritable, 2)(req, out)
			}
		}, fencing.Unknown, "outlet 5 (NotWritable)"},
		"answers the Set with a report": {func(a *agent) {
			a.set = func(req, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
				a.on["3"] = false
				out.PDUType = gosnmp.Report
				out.Variables = []gosnmp.SnmpPDU{{Name: ".1.3.6.1.6.3.15.1.1.5.0", Type: gosnmp.Integer, Value: 1}}
				return out
			}
		}, fencing.Unknown, "rejects the login"},
		"answers about other objects": {func(a *agent) {
			a.get = func(out *gosnmp.SnmpPacket) {
				if len(a.sets) > 0 {
					for i := range out.Variables {
						out.Variables[i].Name = ".1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.7"
						out.Variables[i].Value = 2
						out.Variables[i].Type = gosnmp.Integer
					}
				}
			}
			a.set = func(_, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket { return out }
		}, fencing.Unknown, ""},
		"answers with too few values": {func(a *agent) {
			a.get = func(out *gosnmp.SnmpPacket) {
				if len(a.sets) > 0 {
					out.Variables = out.Variables[:1]
				}
			}
		}, fencing.Unknown, ""},
		"numbers every answer 0": {func(a *agent) {
			a.get = func(out *gosnmp.SnmpPacket) {
				if len(a.sets) > 0 {
					out.RequestID = 0
				}
			}
		}, fencing.Unknown, ""},
		"tells the state as a text": {func(a *agent) {
			a.get = func(out *gosnmp.SnmpPacket) {
				if len(a.sets) > 0 {
					out.Variables[0].Type, out.Variables[0].Value = gosnmp.OctetString, "2"
				}
			}
		}, fencing.Unknown, "OctetString"},
		"ends in errors": {func(a *agent) {
			a.get = func(out *gosnmp.SnmpPacket) {
				if len(a.sets) > 0 {
					out.Error, out.ErrorIndex = gosnmp.GenErr, 1
				}
			}
		}, fencing.Unknown, "GenErr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &agent{on: map[string]bool{"3": true, "5": true}}
			c.script(a)
			d, err := Open(map[string]string{
				"address": a.serve(t), "model": "apc-rpdu", "outlets": "3,5", "version": "2c", "community": "private", "timeout": "100ms",
			})
			if err != nil {
				t.Fatal(err)
			}
			timing := limit
			if c.want == fencing.Confirmed {
				timing.Attempt, timing.Operation = time.Minute, time.Minute
			}
			r := fencing.Off(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}, timing)
			a.mu.Lock()
			defer a.mu.Unlock()
			if r.Outcome != c.want || !strings.Contains(r.Reason, c.says) {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
			if r.Outcome == fencing.Confirmed && (a.on["3"] || a.on["5"]) {
				t.Errorf("a false success: %v", a.on)
			}
			if len(a.sets) == 0 || len(a.sets[0]) != 2 {
				t.Errorf("the first Set should have both outlets: %v", a.sets)
			}
		})
	}
}

// TestOneOutletPerRequest: the agent that refuses two is asked so once, and then for each on its own.
func TestOneOutletPerRequest(t *testing.T) {
	a := &agent{on: map[string]bool{"3": true, "5": true}}
	a.set = func(req, out *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
		if len(req.Variables) > 1 {
			return refuse(gosnmp.GenErr, 1)(req, out)
		}
		a.obey(req)
		return out
	}
	d, err := Open(map[string]string{"address": a.serve(t), "model": "apc-rpdu", "outlets": "3,5", "version": "2c", "community": "private"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Off(t.Context()), d.On(t.Context()), d.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var asked []string
	for _, s := range a.sets {
		asked = append(asked, strings.Join(s, "+"))
	}
	if got := strings.Join(asked, " "); got != "3+5 3 5 3 5" {
		t.Errorf("asked for %s", got)
	}
}
