package watchdog_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/watchdog"
)

const s = time.Second

func contract() watchdog.Contract {
	return watchdog.Contract{Kind: watchdog.Hardware, Timeout: 15 * s, Feed: 10 * s}
}

func TestSilence(t *testing.T) {
	for _, c := range []struct {
		contract watchdog.Contract
		want     time.Duration
	}{
		{watchdog.Contract{Kind: watchdog.Hardware, Timeout: 15 * s}, 30 * s}, // SBD: msgwait = 2 x watchdog
		{contract(), 32500 * time.Millisecond},
		{watchdog.Contract{Kind: watchdog.Hardware, Timeout: 10 * s, Feed: 10 * s, Margin: 2 * s}, 22 * s},
		{watchdog.Contract{Kind: watchdog.Hardware, Timeout: s}, 2000200 * time.Microsecond}, // a second for the reset, and drift
	} {
		if got := c.contract.Silence(); got != max(c.want, 2*c.contract.Timeout) {
			t.Errorf("%+v: %v, want %v", c.contract, got, c.want)
		}
	}
}

// TestSilenceOutlastsTheMachine plays random machines that keep the contract, on clocks that run apart by up to 100 ppm each,
// and asks for the silence from the moment of the last acknowledgement: none of them runs any more when it is proven.
func TestSilenceOutlastsTheMachine(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		c := watchdog.Contract{
			Kind: watchdog.Hardware, Timeout: s + time.Duration(r.Int64N(int64(600*s-s))), Feed: time.Duration(r.Int64N(int64(600 * s))),
		}
		drift := 1 + (2*r.Float64()-1)*100e-6 // of the machine's clock against true time
		logDrift := 1 + (2*r.Float64()-1)*100e-6
		sent := time.Duration(r.Int64N(int64(100 * s)))
		acknowledged := sent + time.Duration(r.Int64N(int64(5*s))) // by the witness, on the way or late
		// The machine feeds last at Feed after sending, and is reset Timeout after that, by its own clock; the reset takes up to a second.
		reset := sent + time.Duration(float64(c.Feed+c.Timeout)/drift) + time.Duration(r.Int64N(int64(s)))
		// The log's clock shows the silence when this much true time has passed.
		proven := acknowledged + time.Duration(float64(c.Silence())/logDrift)
		if proven < reset {
			t.Fatalf("%+v: proven at %v, but it runs until %v", c, proven, reset)
		}
	}
}

func TestProven(t *testing.T) {
	good := watchdog.Silent{Now: 132500 * time.Millisecond, Acknowledged: 100 * s, Refusing: true, Armed: true, Tried: true}
	if ok, left, err := contract().Proven(good); !ok || left != 0 || err != nil {
		t.Fatal(ok, left, err)
	}
	for name, change := range map[string]func(*watchdog.Contract, *watchdog.Silent){
		"a moment before":    func(_ *watchdog.Contract, k *watchdog.Silent) { k.Now-- },
		"never armed":        func(_ *watchdog.Contract, k *watchdog.Silent) { k.Armed = false },
		"maintenance":        func(_ *watchdog.Contract, k *watchdog.Silent) { k.Maintenance = true },
		"still accepted":     func(_ *watchdog.Contract, k *watchdog.Silent) { k.Refusing = false },
		"nothing else tried": func(_ *watchdog.Contract, k *watchdog.Silent) { k.Tried = false },
		"clock behind":       func(_ *watchdog.Contract, k *watchdog.Silent) { k.Now = 99 * s },
		"can be disarmed":    func(c *watchdog.Contract, _ *watchdog.Silent) { c.Kind = watchdog.Software },
		"no contract":        func(c *watchdog.Contract, _ *watchdog.Silent) { c.Timeout = 0 },
	} {
		c, k := contract(), good
		change(&c, &k)
		ok, left, err := c.Proven(k)
		if ok || err == nil {
			t.Errorf("%s: proven", name)
		}
		if (left == 1) != (name == "a moment before") {
			t.Errorf("%s: %v left", name, left)
		}
	}
}

// TestNeverProves: the driver itself proves nothing, whatever time has passed.
func TestNeverProves(t *testing.T) {
	d, err := watchdog.New(watchdog.Config{Contract: contract()})
	if err != nil {
		t.Fatal(err)
	}
	h := fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}
	r := fencing.Off(t.Context(), h, fencing.Timing{})
	if r.Outcome != fencing.Refused || r.Evidence.Grade != fencing.GradeUnknown || !strings.Contains(r.Reason, "32.5s") {
		t.Errorf("%s %s: %s", r.Outcome, r.Evidence.Grade, r.Reason)
	}
}

func TestSettings(t *testing.T) {
	_, err := watchdog.Open(map[string]string{"timeout": "1h", "feed": "-1s", "margin": "x", "kind": "cat", "nowayout": "perhaps", "colour": "red"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"timeout", "feed", "margin", "kind", "nowayout", "colour"} {
		if !strings.Contains(err.Error(), "watchdog: "+want) {
			t.Errorf("no fault about %s: %v", want, err)
		}
	}
	if _, err := watchdog.Open(map[string]string{"timeout": "10s", "margin": "1s"}); err == nil {
		t.Error("a margin without room for clocks was accepted")
	}
	soft, err := watchdog.Open(map[string]string{"timeout": "10s", "kind": "software"})
	if err != nil {
		t.Fatal(err)
	}
	if ready, err := soft.Check(t.Context()); err != nil || ready.Ready() {
		t.Errorf("%+v, %v", ready, err)
	}
}
