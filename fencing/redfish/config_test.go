package redfish_test

import (
	"strings"
	"testing"

	"quorate/fencing/redfish"
)

func TestOpenReportsEveryFault(t *testing.T) {
	_, err := redfish.Open(map[string]string{
		"url": "ftp://user:topsecret@bmc/path", "username": "admin", "auth": "kerberos", "cert_sha256": "abc", "insecure": "true",
		"ca_file": "/does/not/exist", "dial_timeout": "soon", "call_timeout": "-1s", "system": "https://elsewhere/redfish/v1/Systems/1",
		"colour": "blue",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"url", "password", "auth", "cert_sha256", "only one of", "ca_file", "dial_timeout", "call_timeout", "colour: no such setting", "system",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "topsecret") {
		t.Errorf("the error shows a password:\n%v", err)
	}
}

func TestOpenAccepts(t *testing.T) {
	for name, more := range map[string]map[string]string{
		"plain":     {},
		"hex pin":   {"cert_sha256": strings.Repeat("AB:", 31) + "AB"},
		"base64":    {"spki_sha256": "sha256/" + strings.Repeat("A", 43) + "="},
		"session":   {"auth": "session", "call_timeout": "3s", "dial_timeout": "500ms"},
		"pinned":    {"system": "/redfish/v1/Systems/1", "uuid": "x", "serial": "y", "hostname": "z"},
		"clear":     {"url": "http://bmc", "insecure": "true"},
		"same host": {"system": "https://bmc/redfish/v1/Systems/1"},
	} {
		settings := map[string]string{"url": "https://bmc", "username": "admin", "password": "p"}
		for k, v := range more {
			settings[k] = v
		}
		if d, err := redfish.Open(settings); err != nil || d.Name() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := redfish.Open(map[string]string{"url": "http://bmc", "username": "admin", "password": "p"}); err == nil {
		t.Error("http was accepted without insecure")
	}
}
