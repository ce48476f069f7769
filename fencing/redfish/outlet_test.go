package redfish_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

func rack(p simulated.PDU) simulated.Config { return simulated.Config{PDUs: []simulated.PDU{p}} }

func outletsOf(t *testing.T, bmc *simulated.BMC, change func(*redfish.OutletConfig)) *redfish.Outlets {
	t.Helper()
	c := redfish.OutletConfig{Config: config(bmc), Outlets: "A1, A3"}
	if change != nil {
		change(&c)
	}
	d, err := redfish.NewOutlets(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOutlets drives outlets and groups over HTTPS, with the faults of PDUs. Off is claimed only if it is so.
func TestOutlets(t *testing.T) {
	t.Parallel()
	const (
		confirmed = fencing.Confirmed
		refused   = fencing.Refused
		unknown   = fencing.Unknown
	)
	pair := map[string][]string{"db1": {"A1", "A3"}}
	group := func(c *redfish.OutletConfig) { c.Outlets, c.Group = "", "db1" }
	cases := map[string]struct {
		pdu    simulated.PDU
		change func(*redfish.OutletConfig)
		faults []simulated.Fault
		delay  time.Duration
		want   fencing.Outcome
		says   string
	}{
		"outlets":                 {want: confirmed},
		"slow":                    {delay: 700 * time.Millisecond, want: confirmed},
		"by paths":                {change: func(c *redfish.OutletConfig) { c.Outlets = base + "/Outlets/A1," + base + "/Outlets/A3" }, want: confirmed},
		"pinned":                  {pdu: simulated.PDU{SerialNumber: "PDU77"}, change: func(c *redfish.OutletConfig) { c.Serial, c.PDU = "PDU77", "1" }, want: confirmed},
		"group":                   {pdu: simulated.PDU{Groups: pair}, change: group, want: confirmed},
		"group, slow":             {pdu: simulated.PDU{Groups: pair}, change: group, delay: 700 * time.Millisecond, want: confirmed},
		"session":                 {change: func(c *redfish.OutletConfig) { c.Auth = redfish.AuthSession }, want: confirmed},
		"no /Actions/":            {pdu: simulated.PDU{BareTargets: true}, want: confirmed},
		"no /Actions/, group":     {pdu: simulated.PDU{BareTargets: true, Groups: pair}, change: group, want: confirmed},
		"the published target":    {faults: faults(simulated.SwappedTarget), want: confirmed},
		"412 to If-Match":         {faults: faults(simulated.RefuseIfMatch), want: confirmed},
		"428 without it":          {faults: faults(simulated.RequireIfMatch), want: confirmed},
		"500, acts":               {faults: faults(simulated.ErrorButActs), want: confirmed},
		"nothing listed":          {faults: faults(simulated.NoValues), want: confirmed},
		"a foreign target":        {faults: faults(simulated.ForeignTarget), want: refused, says: "another origin"},
		"a foreign target, group": {pdu: simulated.PDU{Groups: pair}, change: group, faults: faults(simulated.ForeignTarget), want: refused, says: "another origin"},
		"no Off offered":          {faults: faults(simulated.NoForceOff), want: refused, says: "does not offer Off, only On, PowerCycle"},
		"locked":                  {faults: faults(simulated.OutletLocked), want: unknown, says: "On locked"},
		"lies":                    {faults: faults(simulated.Lie), want: unknown, says: "not off within"},
		"one of two lies":         {pdu: simulated.PDU{Outlets: []string{"A1", "A2", "A3"}}, faults: faults(simulated.LastOutletOn), want: unknown, says: "A1=Off A3=On"},
		"one of a group":          {pdu: simulated.PDU{Groups: pair}, change: group, faults: faults(simulated.LastOutletOn), want: unknown, says: "A1=Off A3=On group db1=On"},
		"the group lies":          {pdu: simulated.PDU{Groups: pair}, change: group, faults: faults(simulated.LastOutletOn, simulated.GroupLies), want: unknown, says: "A1=Off A3=On group db1=Off"},
		"powering off":            {faults: faults(simulated.StuckPoweringOff), want: unknown, says: "PoweringOff"},
		"null":                    {faults: faults(simulated.StateNull), want: unknown},
		"empty bodies":            {faults: faults(simulated.EmptyBodyAlways), want: unknown},
		"401":                     {faults: faults(simulated.Unauthorized), want: refused, says: "401"},
		"403":                     {faults: faults(simulated.Forbidden), want: refused, says: "403"},
		"vanishes":                {faults: faults(simulated.VanishAfterPost), want: unknown},
		"stalls":                  {faults: faults(simulated.StallTLS), want: refused, says: "no answer within"},
		"wrong serial":            {pdu: simulated.PDU{SerialNumber: "PDU77"}, change: func(c *redfish.OutletConfig) { c.Serial = "PDU78" }, want: refused, says: "wrong PDU"},
		"no such outlet":          {change: func(c *redfish.OutletConfig) { c.Outlets = "A1,B9" }, want: refused, says: `outlet "B9"`},
		"no such path":            {change: func(c *redfish.OutletConfig) { c.Outlets = base + "/Outlets/B9" }, want: refused, says: "B9"},
		"no such group":           {change: func(c *redfish.OutletConfig) { c.Outlets, c.Group = "", "db9" }, want: refused, says: "db9"},
		"no such PDU":             {change: func(c *redfish.OutletConfig) { c.PDU = "9" }, want: refused, says: `PDU "9"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := rack(c.pdu)
			cfg.Delay = c.delay
			bmc := startBMC(t, cfg)
			if err := bmc.SetFault(c.faults...); err != nil {
				t.Fatal(err)
			}
			tm := timing()
			if c.want == confirmed {
				tm = patient()
			}
			r := fencing.Off(context.Background(), host(outletsOf(t, bmc, c.change)), tm)
			if r.Outcome != c.want || !strings.Contains(r.Reason, c.says) {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
			if r.Outcome == confirmed {
				if bmc.Power("1/A1") != "Off" || bmc.Power("1/A3") != "Off" || r.Evidence.Grade != fencing.GradeFeedsOff || len(r.Evidence.Devices[0].Parts) < 2 {
					t.Errorf("a false success, or no evidence: A1 %s, A3 %s, %+v", bmc.Power("1/A1"), bmc.Power("1/A3"), r.Evidence)
				}
			}
			if bmc.Power("1/A2") != "On" {
				t.Error("an outlet that is not ours was switched")
			}
			if bmc.Sessions() > 0 {
				t.Error("a session was left behind")
			}
		})
	}
}

const base = "/redfish/v1/PowerEquipment/RackPDUs/1"

// TestTwoRacks: with several PDUs behind one service, the settings must say which.
func TestTwoRacks(t *testing.T) {
	t.Parallel()
	bmc := startBMC(t, simulated.Config{PDUs: []simulated.PDU{{ID: "left"}, {ID: "right"}}})
	r := fencing.Off(context.Background(), host(outletsOf(t, bmc, nil)), patient())
	if r.Outcome != fencing.Refused || !strings.Contains(r.Reason, "2 PDUs") {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	r = fencing.Off(context.Background(), host(outletsOf(t, bmc, func(c *redfish.OutletConfig) { c.PDU = "right" })), patient())
	if r.Outcome != fencing.Confirmed || bmc.Power("right/A1") != "Off" || bmc.Power("left/A1") != "On" {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	on := fencing.On(context.Background(), host(outletsOf(t, bmc, func(c *redfish.OutletConfig) { c.PDU = "right" })), patient())
	if on.Outcome != fencing.Confirmed || bmc.Power("right/A3") != "On" {
		t.Errorf("%s: %s", on.Outcome, on.Reason)
	}
}

func TestGroupIsOneCommand(t *testing.T) {
	t.Parallel()
	bmc := startBMC(t, rack(simulated.PDU{Groups: map[string][]string{"db1": {"A1", "A3"}}}))
	d := outletsOf(t, bmc, func(c *redfish.OutletConfig) { c.Outlets, c.Group = "", "db1" })
	connections := bmc.Connections()
	if r := fencing.Off(context.Background(), host(d), patient()); r.Outcome != fencing.Confirmed {
		t.Fatal(r.Reason)
	}
	for _, c := range bmc.Commands() {
		if c.ResetType != "Off" || c.Status != 204 {
			t.Errorf("%+v", c)
		}
	}
	if n := bmc.Connections() - connections; n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestOutletCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults   []simulated.Fault
		ready    bool
		warnings string
	}{
		"healthy": {ready: true, warnings: `set serial "PDU77"`},
		"locked":  {faults(simulated.OutletLocked), true, "A1 is locked"},
		"foreign": {faults(simulated.ForeignTarget), false, ""},
		"no Off":  {faults(simulated.NoForceOff), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bmc := startBMC(t, rack(simulated.PDU{SerialNumber: "PDU77"}))
			if err := bmc.SetFault(c.faults...); err != nil {
				t.Fatal(err)
			}
			d := outletsOf(t, bmc, nil)
			r, err := d.Check(t.Context())
			if err = errors.Join(err, d.Close(t.Context())); err != nil || r.Ready() != c.ready || !strings.Contains(strings.Join(r.Warnings, "\n"), c.warnings) {
				t.Errorf("%+v, %v", r, err)
			}
			if len(bmc.Commands()) > 0 {
				t.Errorf("%+v", bmc.Commands())
			}
		})
	}
}

func TestOpenOutletsReportsEveryFault(t *testing.T) {
	_, err := redfish.OpenOutlets(map[string]string{
		"url": "ftp://pdu", "username": "admin", "outlets": "A1,A1,Outlets/B", "group": "db1", "system": "/redfish/v1/Systems/1", "colour": "blue",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"url", "password", "A1 is listed twice", "give one of them", "neither an ID", "system: no such setting", "colour: no such setting"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported:\n%v", want, err)
		}
	}
	if _, err := redfish.OpenOutlets(map[string]string{"url": "https://pdu", "username": "u", "password": "p"}); err == nil || !strings.Contains(err.Error(), "outlets or group") {
		t.Errorf("%v", err)
	}
	d, err := redfish.OpenOutlets(map[string]string{"url": "https://pdu", "username": "u", "password": "p", "outlets": "A1, A3"})
	if err != nil || d.Name() != "pdu outlet A1, A3" {
		t.Errorf("%v, %v", d, err)
	}
}
