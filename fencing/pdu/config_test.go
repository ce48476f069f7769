package pdu

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
)

func TestOpenReportsEveryFault(t *testing.T) {
	_, err := Open(map[string]string{
		"address": "https://pdu/", "model": "apc-rpdu3", "outlets": "", "version": "3", "community": "topsecret",
		"auth_protocol": "MD5", "auth_password": "short", "priv_protocol": "DES", "timeout": "soon", "call_timeout": "-1s",
		"off_value": "many", "colour": "blue",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"address:", "model:", "outlets:", "community belongs", "username:", "auth_protocol:", "auth_password:", "priv_protocol:",
		"priv_password:", "timeout:", "call_timeout:", "off_value:", "only with model custom", "colour: no such setting",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "short") {
		t.Errorf("the error shows a secret:\n%v", err)
	}
}

// minimal are the settings that a device needs.
func minimal(more map[string]string) map[string]string {
	s := map[string]string{"address": "pdu-a", "model": "apc-rpdu", "outlets": "3, 5", "username": "fence", "auth_password": "authpass123", "priv_password": "privpass123"}
	maps.Copy(s, more)
	return s
}

func TestOpenAccepts(t *testing.T) {
	for name, more := range map[string]map[string]string{
		"minimal":   {},
		"port":      {"address": "10.0.0.1:1161"},
		"IPv6":      {"address": "[2001:db8::1]:161"},
		"bare IPv6": {"address": "2001:db8::1"},
		"SHA-2":     {"auth_protocol": "SHA-512", "priv_protocol": "AES-256"},
		"Reeder":    {"auth_protocol": "SHA-256", "priv_protocol": "AES-256-C", "context": "bank1"},
		"pinned":    {"sysname": "pdu-a", "name": "feed A", "timeout": "500ms", "call_timeout": "3s"},
	} {
		if d, err := Open(minimal(more)); err != nil || d.Name() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, err := Open(minimal(nil))
	if err != nil || d.Name() != "pdu-a outlet 3, 5" {
		t.Errorf("%v, %v", d, err)
	}
	clear := map[string]string{"address": "pdu-a", "model": "apc-rpdu", "outlets": "3", "version": "2c", "community": "private"}
	if _, err := Open(clear); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for want, more := range map[string]map[string]string{
		"listed twice":                  {"outlets": "3,3"},
		"more than the limit":           {"outlets": "1,2,3,4,5,6,7,8,9"},
		"not of the form":               {"outlets": "1.3"},
		"belong to version 3":           {"version": "1", "community": "private"},
		"needs the write community":     {"version": "2c"},
		"not one of 3, 2c, 1":           {"version": "4"},
		"not of the form host[:port]":   {"address": "pdu-a:none"},
		"is not one of AES, AES-192":    {"priv_protocol": "AES-512"},
		"belongs to model apc-rpdu:":    {"model": "custom", "object_id": "318.1.3.4.5", "off_oid": ".1.3.6.1.4.1.318.1.1.12.3.3.1.1.4", "off_value": "5"},
		"status_on: model custom needs": {"model": "custom", "object_id": ".1.3.6.1.4.1.28507.58", "off_oid": ".1.3.6.1.4.1.28507.58.1.3.1.2.1.3", "status_oid": ".1.3.6.1.4.1.28507.58.1.3.1.2.1.3", "off_value": "0", "on_value": "1", "status_off": "0"},
		"are the same value":            {"model": "custom", "status_off": "1", "status_on": "1"},
		"is not an OID":                 {"model": "custom", "off_oid": "sysName.0"},
	} {
		if _, err := Open(minimal(more)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", more, err, want)
		}
	}
}

// TestCustom: a GUDE Expert Power Control 8226 (GUDEADS-EPC8226-MIB), which is not in the table because every model of GUDE
// has numbers of its own.
func TestCustom(t *testing.T) {
	column := ".1.3.6.1.4.1.28507.58.1.3.1.2.1.3"
	d, err := Open(minimal(map[string]string{
		"model": "custom", "object_id": ".1.3.6.1.4.1.28507.58", "off_oid": column, "status_oid": column,
		"off_value": "0", "on_value": "1", "status_off": "0", "status_on": "1",
	}))
	if err != nil {
		t.Fatal(err)
	}
	m, o := d.(*Device).model, d.(*Device).outlets[1]
	if off, on, status := m.oid(m.off.oid, o), m.oid(m.on.oid, o), m.oid(m.status, o); off != column+".5" || on != off || status != off {
		t.Errorf("off %s, on %s, status %s", off, on, status)
	}
	if m.off.value != 0 || m.on.value != 1 || m.matches(".1.3.6.1.4.1.28507.58") == 0 || m.matches(".1.3.6.1.4.1.28507.5") != 0 {
		t.Errorf("%+v", m)
	}
}

// silent is a UDP socket that answers nothing.
func silent(t *testing.T) net.PacketConn {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestCancelEndsACall: gosnmp minds a context's deadline, but not its cancellation. A level that has failed elsewhere must
// not wait for a PDU that is silent.
func TestCancelEndsACall(t *testing.T) {
	for _, version := range []map[string]string{
		{}, {"version": "2c", "community": "private", "username": "", "auth_password": "", "priv_password": ""},
	} {
		settings := minimal(version)
		pdu := silent(t)
		settings["address"], settings["timeout"], settings["call_timeout"] = pdu.LocalAddr().String(), "1h", "1h"
		d, err := Open(settings)
		if err != nil {
			t.Fatal(err)
		}
		stopped := errors.New("another device failed")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := d.Read(ctx)
			done <- err
		}()
		if _, _, err := pdu.ReadFrom(make([]byte, 2048)); err != nil { // the request is under way
			t.Fatal(err)
		}
		cancel(stopped)
		if err := <-done; !errors.Is(err, stopped) { // the test's own deadline ends a call that does not return
			t.Errorf("%v", err)
		}
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestSilentPDU: nothing was sent that could have been carried out, so the fence is refused and not unknown.
func TestSilentPDU(t *testing.T) {
	settings := minimal(nil)
	settings["address"], settings["timeout"] = silent(t).LocalAddr().String(), "20ms"
	d, err := Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	r := fencing.Off(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}, fencing.Timing{Contact: 200 * time.Millisecond})
	if r.Outcome != fencing.Refused || !strings.Contains(r.Reason, "no answer") {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
}
