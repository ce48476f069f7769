package redfish_test

import (
	"errors"
	"strings"
	"testing"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

// TestIdentity: of two blades behind one BMC, exactly the configured one is switched, or none.
func TestIdentity(t *testing.T) {
	blades := systems(
		simulated.System{ID: "A", UUID: "AAAAAAAA-0000-4000-8000-000000000001", SerialNumber: "SN1", HostName: "db1"},
		simulated.System{ID: "B", UUID: "bbbbbbbb-0000-4000-8000-000000000002", SerialNumber: "SN2", HostName: "db2"},
		simulated.System{ID: "C", UUID: "cccccccc-0000-4000-8000-000000000003", SerialNumber: "SN2", HostName: "db3"},
	)
	const path = "/redfish/v1/Systems/"
	cases := map[string]struct {
		pin  redfish.Config
		want string // the blade that goes off; none if empty
	}{
		"path":                      {redfish.Config{System: path + "A"}, "A"},
		"uuid, other case":          {redfish.Config{UUID: "aaaaaaaa-0000-4000-8000-000000000001"}, "A"},
		"host name":                 {redfish.Config{HostName: "db2"}, "B"},
		"serial and host name":      {redfish.Config{Serial: "SN2", HostName: "db3"}, "C"},
		"path and uuid":             {redfish.Config{System: path + "B", UUID: "bbbbbbbb-0000-4000-8000-000000000002"}, "B"},
		"nothing":                   {redfish.Config{}, ""},
		"serial of two":             {redfish.Config{Serial: "SN2"}, ""},
		"serial in another case":    {redfish.Config{Serial: "sn1"}, ""},
		"unknown uuid":              {redfish.Config{UUID: "dddddddd-0000-4000-8000-000000000004"}, ""},
		"path and another's uuid":   {redfish.Config{System: path + "A", UUID: "bbbbbbbb-0000-4000-8000-000000000002"}, ""},
		"path and another's serial": {redfish.Config{System: path + "A", Serial: "SN2"}, ""},
		"uuid and another's name":   {redfish.Config{UUID: "aaaaaaaa-0000-4000-8000-000000000001", HostName: "db2"}, ""},
		"unknown path":              {redfish.Config{System: path + "D"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bmc := startBMC(t, blades)
			cfg := config(bmc)
			cfg.System, cfg.UUID, cfg.Serial, cfg.HostName = c.pin.System, c.pin.UUID, c.pin.Serial, c.pin.HostName
			r := fencing.Off(t.Context(), host(open(t, cfg)), patient())
			want := fencing.Confirmed
			if c.want == "" {
				want = fencing.Refused
			}
			if r.Outcome != want {
				t.Fatalf("%s: %s", r.Outcome, r.Reason)
			}
			for _, id := range []string{"A", "B", "C"} {
				if off := bmc.Power(id) == simulated.Off; off != (id == c.want) {
					t.Errorf("blade %s off: %v", id, off)
				}
			}
		})
	}
}

// TestIdentityBlankedWhenOff: some BMCs blank the attributes of a machine that is off. Such a machine counts as off if
// its path is pinned, but nothing is ever sent to one that does not show who it is.
func TestIdentityBlankedWhenOff(t *testing.T) {
	bmc := startBMC(t, systems(simulated.System{Power: simulated.Off}))
	cfg := config(bmc)
	cfg.System, cfg.Serial = "/redfish/v1/Systems/1", "SN1"
	d := open(t, cfg)
	if r, err := d.Read(t.Context()); err != nil || r.State != fencing.PowerOff {
		t.Errorf("%+v, %v", r, err)
	}
	if err := d.Off(t.Context()); !errors.Is(err, fencing.ErrPermanent) || len(bmc.Commands()) > 0 {
		t.Errorf("%v, commands %v", err, bmc.Commands())
	}
	_ = d.Close(t.Context())
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		config  simulated.Config
		faults  []simulated.Fault
		change  func(*redfish.Config)
		ready   bool
		mention string // in faults or warnings
	}{
		"good":             {ready: true},
		"read-only":        {config: simulated.Config{Role: "ReadOnly"}, ready: true, mention: "ConfigureComponents"},
		"no ForceOff":      {faults: faults(simulated.NoForceOff), mention: "does not offer ForceOff"},
		"no values":        {faults: faults(simulated.NoValues), ready: true, mention: "lists no reset types"},
		"unauthorized":     {faults: faults(simulated.Unauthorized), mention: "401"},
		"empty body":       {faults: faults(simulated.EmptyBodyAlways), mention: "cannot be parsed"},
		"insecure":         {change: func(c *redfish.Config) { c.CertSHA256, c.Insecure = "", true }, ready: true, mention: "not verified"},
		"not pinned":       {change: func(c *redfish.Config) { c.Serial = "" }, ready: true, mention: "not pinned"},
		"wrong serial":     {change: func(c *redfish.Config) { c.Serial = "SN9" }, mention: "exactly one must"},
		"pins are unknown": {config: systems(simulated.System{SerialNumber: "", HostName: "x"}), change: func(c *redfish.Config) { c.System = "/redfish/v1/Systems/1" }, mention: "not proven to be the right one"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if len(c.config.Systems) == 0 {
				c.config.Systems = []simulated.System{{SerialNumber: "SN1"}}
			}
			bmc := startBMC(t, c.config)
			if err := bmc.SetFault(c.faults...); err != nil {
				t.Fatal(err)
			}
			cfg := config(bmc)
			cfg.Serial = "SN1"
			if c.change != nil {
				c.change(&cfg)
			}
			state := fencing.Check(t.Context(), host(open(t, cfg)), patient())
			r := state.Devices[0].Readiness
			text := strings.Join(append(r.Faults, r.Warnings...), "; ")
			if r.Ready() != c.ready || !strings.Contains(text, c.mention) || (c.mention == "" && text != "") {
				t.Errorf("ready %v: %s", r.Ready(), text)
			}
			if len(bmc.Commands()) > 0 {
				t.Errorf("a check sent %v", bmc.Commands())
			}
			if name == "insecure" && !strings.Contains(text, bmc.Fingerprint()) {
				t.Errorf("the warning does not name the fingerprint to pin: %s", text)
			}
		})
	}
}
