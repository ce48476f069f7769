package manifest_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/manifest"
)

func TestDiff(t *testing.T) {
	from, to := demo(t), demo(t)
	if got := manifest.Diff(from, to); len(got) != 0 {
		t.Fatalf("no difference gave %v", got)
	}
	to.Sites = to.Sites[:1]
	to.Devices[0].Settings = map[string]string{"address": "https://10.0.9.7", "user": "quorate", "password": "sesame", "token": "abc"}
	to.Devices = append(to.Devices, witness.Device{Name: "pdu", Driver: "snmp", Settings: map[string]string{"community": "private", "outlet": "4"}})
	to.Hosts[0].Site = ""
	to.Hosts[1].Fence = append(to.Hosts[1].Fence, witness.FenceStep{Level: 2, Device: "pdu"})
	c := to.Cluster("demo")
	c.Fast, c.ReleaseAfter = "", witness.Duration(2*time.Minute)
	c.Members[0], c.Members[1] = c.Members[1], c.Members[0] // order means nothing
	c.Members[0].Port = 0
	c.Members = append(c.Members, witness.MemberSpec{Name: "pg3", Host: "db3"})
	to.Zones[0].NS = to.Zones[0].NS[:1]
	var lines []string
	for _, ch := range manifest.Diff(from, to) {
		lines = append(lines, ch.String())
	}
	got := strings.Join(lines, "\n") + "\n"
	golden(t, "diff.golden", got)
	for _, secret := range []string{"hunter2", "sesame", "private", "abc"} {
		if strings.Contains(got, secret) {
			t.Errorf("the diff shows the secret %q", secret)
		}
	}
}

func TestKeepSecrets(t *testing.T) {
	current := demo(t)
	masked := current.Redacted()
	got, faults := manifest.KeepSecrets(&masked, current)
	if len(faults) > 0 || !reflect.DeepEqual(got, current) {
		t.Errorf("masked and put back: %+v, %v", got, faults)
	}
	if masked.Devices[0].Settings["password"] != manifest.Mask {
		t.Error("the argument was changed")
	}

	for name, edit := range map[string]func(*witness.Config){
		"new device":     func(c *witness.Config) { c.Devices[0].Name = "other" },
		"new address":    func(c *witness.Config) { c.Devices[0].Settings["address"] = "https://evil.example" },
		"lost setting":   func(c *witness.Config) { delete(c.Devices[0].Settings, "user") },
		"more settings":  func(c *witness.Config) { c.Devices[0].Settings["insecure"] = "true" },
		"other driver":   func(c *witness.Config) { c.Devices[0].Driver = "ipmi" },
		"unknown secret": func(c *witness.Config) { c.Devices[0].Settings["token"] = manifest.Mask },
	} {
		t.Run(name, func(t *testing.T) {
			next := current.Redacted()
			edit(&next)
			got, faults := manifest.KeepSecrets(&next, current)
			if len(faults) != 1 || !strings.HasPrefix(faults[0].Path, "devices[0].settings.") {
				t.Errorf("faults %v", faults)
			}
			for k, v := range got.Devices[0].Settings {
				if v == manifest.Mask {
					t.Errorf("the mask itself became the value of %s", k)
				}
			}
		})
	}

	next := current.Redacted()
	next.Devices[0].Settings = map[string]string{"address": "https://10.0.9.7", "user": "quorate", "password": "new"}
	if got, faults := manifest.KeepSecrets(&next, current); len(faults) > 0 || got.Devices[0].Settings["password"] != "new" {
		t.Errorf("a new secret: %v, %v", got.Devices[0], faults)
	}
}

func TestLoadOver(t *testing.T) {
	current := demo(t)
	masked := current.Redacted()
	raw, err := manifest.Render(&masked)
	if err != nil {
		t.Fatal(err)
	}
	got, faults := manifest.LoadOver("f", raw, nil, current)
	if len(faults) > 0 || !reflect.DeepEqual(got, current) {
		t.Errorf("got %+v, %v", got, faults)
	}
	moved := strings.Replace(string(raw), "https://10.0.9.2", "https://10.0.9.3", 1)
	_, faults = manifest.LoadOver("f", []byte(moved), nil, current)
	if len(faults) != 1 || faults[0].Line != 17 || faults[0].Path != "devices[1].settings.password" {
		t.Errorf("faults %v", faults)
	}
}
