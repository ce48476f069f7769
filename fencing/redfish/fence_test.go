package redfish_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

const password = "a-secret-of-the-BMC"

// TestMain lets many tests wait at the same time: they wait for BMCs that never answer, and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" { // there it is the number of processes
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// timing has the real intervals and shorter patience, for devices that never come round.
func timing() fencing.Timing {
	return fencing.Timing{Attempt: 6 * time.Second, Contact: 3 * time.Second, Call: 3 * time.Second}
}

// patient is for cases that must succeed, also on a loaded machine.
func patient() fencing.Timing {
	return fencing.Timing{Operation: 2 * time.Minute, Attempt: time.Minute, AttemptOn: time.Minute, Contact: 30 * time.Second, Call: 30 * time.Second}
}

func startBMC(t *testing.T, c simulated.Config) *simulated.BMC {
	t.Helper()
	c.Password = password
	bmc, err := simulated.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bmc.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return bmc
}

func config(bmc *simulated.BMC) redfish.Config {
	return redfish.Config{
		Name: "bmc", URL: bmc.URL(), Username: "admin", Password: password, CertSHA256: bmc.Fingerprint(),
		CallTimeout: 30 * time.Second, // the tests' Timing bounds the calls
	}
}

func openFor(bmc *simulated.BMC) (fencing.Device, error) { return redfish.New(config(bmc)) }

func open(t *testing.T, c redfish.Config) *redfish.Device {
	t.Helper()
	d, err := redfish.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func host(devices ...fencing.Device) fencing.Host {
	h := fencing.Host{Name: "db1"}
	for _, d := range devices {
		h.Levels = append(h.Levels, fencing.Level{d})
	}
	return h
}

// TestFaults drives the whole way, over HTTPS, against a BMC with each of its faults.
func TestFaults(t *testing.T) {
	t.Parallel()
	type want struct {
		outcome fencing.Outcome
		power   string // what the machine really does afterwards
		reason  string
	}
	const (
		confirmed = fencing.Confirmed
		refused   = fencing.Refused
		unknown   = fencing.Unknown
	)
	cases := map[string]struct {
		config  simulated.Config
		auth    redfish.Auth
		system  string
		chassis string
		faults  []simulated.Fault
		off     bool // the machine is off at the start
		want    want
	}{
		"healthy":                   {want: want{confirmed, "Off", "2 times in a row"}},
		"healthy, session":          {auth: redfish.AuthSession, want: want{confirmed, "Off", ""}},
		"slow off":                  {config: simulated.Config{Delay: 700 * time.Millisecond}, want: want{confirmed, "Off", ""}},
		"already off":               {off: true, want: want{confirmed, "Off", ""}},
		"already off, conflict":     {off: true, faults: faults(simulated.ConflictWhenOff), want: want{confirmed, "Off", ""}},
		"action info":               {config: systems(simulated.System{ActionInfo: true}), want: want{confirmed, "Off", ""}},
		"no values listed":          {faults: faults(simulated.NoValues), want: want{confirmed, "Off", ""}},
		"412 to If-Match":           {faults: faults(simulated.RefuseIfMatch), want: want{confirmed, "Off", ""}},
		"412 without If-Match":      {faults: faults(simulated.WantIfMatch412), want: want{confirmed, "Off", ""}},
		"428 without If-Match":      {faults: faults(simulated.RequireIfMatch), want: want{confirmed, "Off", ""}},
		"500 but acts":              {faults: faults(simulated.ErrorButActs), want: want{confirmed, "Off", ""}},
		"post never answered":       {faults: faults(simulated.StallPost), want: want{confirmed, "Off", ""}},
		"empty body in between":     {config: simulated.Config{Delay: 400 * time.Millisecond}, faults: faults(simulated.EmptyBody), want: want{confirmed, "Off", ""}},
		"empty body, searching":     {config: simulated.Config{Delay: 2 * time.Second, Systems: []simulated.System{{SerialNumber: "SN1"}}}, faults: faults(simulated.EmptyBody), want: want{confirmed, "Off", ""}},
		"sessions full":             {auth: redfish.AuthSession, faults: faults(simulated.SessionsFull), want: want{confirmed, "Off", ""}},
		"no session service":        {auth: redfish.AuthSession, faults: faults(simulated.NoSessions), want: want{confirmed, "Off", ""}},
		"stall connect":             {faults: faults(simulated.StallConnect), want: want{refused, "On", "first contact"}},
		"stall after TLS":           {faults: faults(simulated.StallTLS), want: want{refused, "On", "first contact"}},
		"unauthorized":              {faults: faults(simulated.Unauthorized), want: want{refused, "On", "401"}},
		"unauthorized, session":     {auth: redfish.AuthSession, faults: faults(simulated.Unauthorized), want: want{refused, "On", "401"}},
		"forbidden":                 {faults: faults(simulated.Forbidden), want: want{refused, "On", "403"}},
		"no ForceOff":               {faults: faults(simulated.NoForceOff), want: want{refused, "On", "does not offer ForceOff"}},
		"no ForceOff, ActionInfo":   {config: systems(simulated.System{ActionInfo: true}), faults: faults(simulated.NoForceOff), want: want{refused, "On", "does not offer ForceOff"}},
		"two systems":               {config: systems(simulated.System{}, simulated.System{}), want: want{refused, "On", "2 systems"}},
		"500":                       {faults: faults(simulated.ServerError), want: want{unknown, "On", "last state on"}},
		"lie":                       {faults: faults(simulated.Lie), want: want{unknown, "On", "last state on"}},
		"stuck":                     {faults: faults(simulated.StuckPoweringOff), want: want{unknown, "On", "PoweringOff"}},
		"vanishes after POST":       {faults: faults(simulated.VanishAfterPost), want: want{unknown, "Off", "vanished"}},
		"stalls after POST":         {faults: faults(simulated.StallAfterPost), want: want{unknown, "Off", "vanished"}},
		"empty body for ever":       {faults: faults(simulated.EmptyBodyAlways), want: want{unknown, "On", "unparseable"}},
		"paused for ever":           {faults: faults(simulated.StatePaused), want: want{unknown, "Off", "Paused"}},
		"state null":                {faults: faults(simulated.StateNull), want: want{unknown, "Off", "last state unknown"}},
		"session lost":              {auth: redfish.AuthSession, faults: faults(simulated.SessionLost), want: want{confirmed, "Off", ""}},
		"202 with a task":           {config: simulated.Config{Delay: 400 * time.Millisecond}, faults: faults(simulated.AcceptTask), want: want{confirmed, "Off", ""}},
		"202, and the task fails":   {faults: faults(simulated.TaskFails), want: want{unknown, "On", "last state on"}},
		"503 to everything":         {faults: faults(simulated.Unavailable), want: want{unknown, "On", "503"}},
		"10 s for each answer":      {faults: faults(simulated.SlowAnswers), want: want{refused, "On", "first contact"}},
		"only the chassis":          {config: systems(simulated.System{ChassisReset: true}), chassis: "/redfish/v1/Chassis/1", want: want{confirmed, "Off", ""}},
		"only the chassis, no path": {config: systems(simulated.System{ChassisReset: true}), want: want{refused, "On", "no action ComputerSystem.Reset"}},
		"chassis without ForceOff":  {config: systems(simulated.System{ChassisReset: true}), chassis: "/redfish/v1/Chassis/1", faults: faults(simulated.NoForceOff), want: want{refused, "On", "does not offer ForceOff"}},
		"chassis of another system": {
			config: systems(simulated.System{ChassisReset: true}, simulated.System{ChassisReset: true}), system: "/redfish/v1/Systems/1",
			chassis: "/redfish/v1/Chassis/2", want: want{refused, "On", "must hold this system and nothing else"},
		},
		"chassis of two systems": {
			config: simulated.Config{SharedChassis: true, Systems: []simulated.System{{ChassisReset: true}, {}}}, system: "/redfish/v1/Systems/1",
			chassis: "/redfish/v1/Chassis/1", want: want{refused, "On", "and nothing else"},
		},
		"chassis is a system": {config: systems(simulated.System{ChassisReset: true}), chassis: "/redfish/v1/Systems/1", want: want{refused, "On", "is no chassis"}},
		"flickers, and lies":  {faults: faults(simulated.FlickersOff, simulated.Lie), want: want{unknown, "On", ""}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bmc := startBMC(t, c.config)
			if c.off {
				if err := bmc.SetPower("1", simulated.Off); err != nil {
					t.Fatal(err)
				}
			}
			if err := bmc.SetFault(c.faults...); err != nil {
				t.Fatal(err)
			}
			cfg := config(bmc)
			cfg.Auth, cfg.System, cfg.Chassis = c.auth, c.system, c.chassis
			tm := timing()
			if c.want.outcome != unknown && !strings.Contains(name, "stall") && !strings.Contains(name, "10 s") {
				tm = patient()
			}
			if name == "post never answered" {
				tm.Call = time.Second // what is waited for
			}
			if name == "empty body, searching" { // somebody else's ForceOff is under way when the system is looked for
				cfg.Serial = "SN1"
				reset(t, bmc)
			}
			r := fencing.Off(context.Background(), host(open(t, cfg)), tm)
			if r.Outcome != c.want.outcome {
				t.Fatalf("%s, want %s: %s", r.Outcome, c.want.outcome, r.Reason)
			}
			if got := bmc.Power("1"); got != c.want.power {
				t.Errorf("the machine is %s, want %s", got, c.want.power)
			}
			if !strings.Contains(r.Reason, c.want.reason) {
				t.Errorf("the reason lacks %q: %s", c.want.reason, r.Reason)
			}
			checkEvidence(t, r)
			if n := bmc.Connections(); strings.HasPrefix(name, "healthy") && n != 1 {
				t.Errorf("%d connections; a BMC gets one", n)
			}
			if c.off && len(bmc.Commands()) > 0 {
				t.Errorf("a machine that was off got commands: %v", bmc.Commands())
			}
			if stillThere := bmc.Sessions(); stillThere > 0 && name != "stalls after POST" {
				t.Errorf("%d sessions are left behind", stillThere)
			}
		})
	}
}

func reset(t *testing.T, bmc *simulated.BMC) {
	t.Helper()
	d := open(t, config(bmc))
	if err := errors.Join(d.Off(t.Context()), d.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func faults(f ...simulated.Fault) []simulated.Fault  { return f }
func systems(s ...simulated.System) simulated.Config { return simulated.Config{Systems: s} }

// checkEvidence holds what is true of every result.
func checkEvidence(t *testing.T, r fencing.Result) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), password) {
		t.Errorf("the evidence holds the password: %s", data)
	}
	if len(data) > fencing.MaxEvidenceBytes {
		t.Errorf("%d bytes of evidence", len(data))
	}
	if (r.Outcome == fencing.Confirmed) != (r.Evidence.Grade == fencing.GradeObservedOff) {
		t.Errorf("outcome %s has grade %s", r.Outcome, r.Evidence.Grade)
	}
	if r.Outcome != fencing.Confirmed {
		return
	}
	d := r.Evidence.Devices[len(r.Evidence.Devices)-1]
	n := len(d.Readings)
	if n < 2 || d.Readings[n-1].Raw != "Off" || d.Readings[n-2].Raw != "Off" {
		t.Errorf("confirmed without two Off readings at the end: %s", data)
	}
	if !strings.Contains(d.Identity, "/redfish/v1/Systems/1 uuid=") {
		t.Errorf("the evidence does not say what was read: %q", d.Identity)
	}
}

// TestNothingConfirmsARunningMachine goes through every fault there is, so that a new one cannot be forgotten.
func TestNothingConfirmsARunningMachine(t *testing.T) {
	t.Parallel()
	for _, fault := range simulated.Faults() {
		if fault == simulated.ReportsOff {
			continue // cannot be told from off by Redfish alone: README.md, "Evidence"
		}
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			bmc := startBMC(t, simulated.Config{})
			// On top of the fault, no command ever has an effect.
			if err := bmc.SetFault(fault, simulated.Lie); err != nil {
				t.Fatal(err)
			}
			r := fencing.Off(context.Background(), host(open(t, config(bmc))), timing())
			if r.Outcome == fencing.Confirmed {
				t.Fatalf("a running machine was confirmed off: %+v", r)
			}
		})
	}
}

// TestNextLevel: whatever is wrong with the first BMC, the second level is tried and proves it.
func TestNextLevel(t *testing.T) {
	t.Parallel()
	for _, fault := range []simulated.Fault{
		simulated.StallTLS, simulated.Unauthorized, simulated.VanishAfterPost, simulated.NoForceOff, simulated.Lie,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			bad, good := startBMC(t, simulated.Config{}), startBMC(t, simulated.Config{})
			if err := bad.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			first, second := config(bad), config(good)
			first.Name, second.Name = "first", "second"
			tm := patient()
			tm.Attempt, tm.Contact = 15*time.Second, 3*time.Second
			if fault == simulated.Lie {
				tm.Attempt = 5 * time.Second
			}
			r := fencing.Off(context.Background(), host(open(t, first), open(t, second)), tm)
			if r.Outcome != fencing.Confirmed || r.Evidence.Level != 2 {
				t.Fatalf("%s by level %d: %s", r.Outcome, r.Evidence.Level, r.Reason)
			}
			if r.Evidence.Devices[0].Error == "" || good.Power("1") != simulated.Off {
				t.Errorf("first: %+v; second is %s", r.Evidence.Devices[0], good.Power("1"))
			}
			if fault == simulated.Unauthorized && len(bad.Commands()) > 0 {
				t.Error("it went on after 401")
			}
			t.Logf("second level proved it after %v", r.Evidence.Finished.Sub(r.Evidence.Started))
		})
	}
}

// TestLevelInParallel: two devices that each wait for the other one's command can only both go off in parallel.
func TestLevelInParallel(t *testing.T) {
	t.Parallel()
	a, b := make(chan struct{}), make(chan struct{})
	meet := func(mine, other chan struct{}) func(context.Context, string) error {
		return func(ctx context.Context, _ string) error {
			close(mine)
			select {
			case <-other:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	first, second := startBMC(t, simulated.Config{OnOff: meet(a, b)}), startBMC(t, simulated.Config{OnOff: meet(b, a)})
	h := fencing.Host{Name: "db1", Levels: []fencing.Level{{open(t, config(first)), open(t, config(second))}}}
	if r := fencing.Off(context.Background(), h, patient()); r.Outcome != fencing.Confirmed {
		t.Fatalf("%s: %s", r.Outcome, r.Reason)
	}
}

// TestReboot: off is proven, and On is repeated while the BMC says that it conflicts.
func TestReboot(t *testing.T) {
	t.Parallel()
	bmc := startBMC(t, simulated.Config{})
	if err := bmc.SetFault(simulated.ConflictOnOn); err != nil {
		t.Fatal(err)
	}
	h := host(open(t, config(bmc)))
	r := fencing.Reboot(context.Background(), h, patient())
	if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Confirmed {
		t.Fatalf("%+v", r)
	}
	var order []string
	for _, c := range bmc.Commands() {
		order = append(order, c.ResetType)
	}
	if got := strings.Join(order, " "); got != "ForceOff On On On" || bmc.Power("1") != simulated.On {
		t.Errorf("commands %q, the machine is %s", got, bmc.Power("1"))
	}
	if s := fencing.State(context.Background(), h, patient()); s.State != fencing.PowerOn {
		t.Errorf("state %+v", s)
	}
}

// TestRebootWithoutProof: a host that is not proven off is not switched on.
func TestRebootWithoutProof(t *testing.T) {
	t.Parallel()
	bmc := startBMC(t, simulated.Config{})
	if err := bmc.SetFault(simulated.StuckPoweringOff); err != nil {
		t.Fatal(err)
	}
	r := fencing.Reboot(context.Background(), host(open(t, config(bmc))), timing())
	if r.Off.Outcome != fencing.Unknown || r.On != nil {
		t.Fatalf("%+v", r)
	}
}
