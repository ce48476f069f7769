package manual_test

import (
	"strings"
	"testing"

	"quorate/fencing"
	"quorate/fencing/manual"
)

// TestNeverProves: off is refused with what to do, and nothing is unlocked.
func TestNeverProves(t *testing.T) {
	d, err := manual.New(manual.Config{Instructions: "rack 4, outlets 3 and 5: pull both", Contact: "on-call 4711"})
	if err != nil {
		t.Fatal(err)
	}
	h := fencing.Host{Name: "db1", Levels: []fencing.Level{{d}}}
	r := fencing.Off(t.Context(), h, fencing.Timing{})
	if r.Outcome != fencing.Refused || r.Evidence.Grade != fencing.GradeUnknown {
		t.Fatalf("%s %s", r.Outcome, r.Evidence.Grade)
	}
	for _, want := range []string{"rack 4", "4711", "witnessctl fence confirm-off"} {
		if !strings.Contains(r.Reason, want) {
			t.Errorf("the reason lacks %q: %s", want, r.Reason)
		}
	}
	if s := fencing.State(t.Context(), h, fencing.Timing{}); s.State != fencing.PowerUnknown {
		t.Errorf("state %s", s.State)
	}
	c := fencing.Check(t.Context(), h, fencing.Timing{})
	if ready := c.Devices[0].Readiness; ready == nil || !ready.Ready() || len(ready.Warnings) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestSettings(t *testing.T) {
	_, err := manual.Open(map[string]string{"contact": "a\nb", "colour": "red"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"instructions", "contact", "colour"} {
		if !strings.Contains(err.Error(), "manual: "+want) {
			t.Errorf("no fault about %s: %v", want, err)
		}
	}
	if _, err := manual.Open(map[string]string{"instructions": strings.Repeat("x", 161)}); err == nil {
		t.Error("an endless text was accepted")
	}
	if d, err := manual.Open(map[string]string{"instructions": "pull it"}); err != nil || d.Name() != "by hand" {
		t.Error(d, err)
	}
}
