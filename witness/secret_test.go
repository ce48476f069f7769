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

// TestDataKeysAreBounded: a key that is made again and again while nothing is sealed anew does not fill the state.
func TestDataKeysAreBounded(t *testing.T) {
	t.Parallel()
	s := witness.New()
	apply := func(cmd witness.Command) *witness.Error {
		var res witness.Result
		s, res, _ = s.Apply(witness.Entry{Index: s.Index + 1, Term: 1, Cmd: cmd})
		return res.Err
	}
	if err := apply(witness.NodeKey{Node: "w1", Public: "p"}); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 100; n++ {
		if err := apply(witness.DataKey{Version: s.KeyVersion() + 1, Boxes: []witness.SealedBox{{Node: "w1", Box: "b"}}}); err != nil && err.Code != witness.CodeExhausted {
			t.Fatal(err)
		}
	}
	if n := len(s.DataKeys()); n > 20 {
		t.Errorf("%d data keys are kept", n)
	}
	if err := apply(witness.Configure{Config: witness.Config{}}); err != nil || len(s.DataKeys()) != 1 {
		t.Errorf("%v, %d data keys after a configuration that needs none of the old ones", err, len(s.DataKeys()))
	}
}
