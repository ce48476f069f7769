package witness_test

import (
	"testing"

	"quorate/witness"
)

// TestRedacted: secrets of devices are masked, those of fence agents too, and nothing else is.
func TestRedacted(t *testing.T) {
	t.Parallel()
	settings := map[string]string{
		"password": "s", "auth_password": "s", "community": "s", "option.passwd": "s", "option.Secret_Key": "s", "option.snmp_priv_passwd": "s",
		"url": "u", "option.ip": "u", "option.username": "u", "username": "u",
	}
	c := witness.Config{Devices: []witness.Device{{Name: "d", Settings: settings}}}
	for key, value := range c.Redacted().Devices[0].Settings {
		if secret := settings[key] == "s"; secret != (value == "********") {
			t.Errorf("%s is shown as %q", key, value)
		}
	}
	if settings["password"] != "s" {
		t.Error("the original was changed")
	}
}
