package relay

import (
	"bytes"
	"testing"

	"quorate/fencing"
)

// FuzzJudge: no answer makes a panic, and none is off that does not hold the model's exact value for off.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		`{"ison":false}`, `{"result":{"output":false,"timer_duration":60}}`, `{"POWER":"OFF"}`, `{"POWER1":"OFF"}`,
		`{"Outputs":[{"ID":1,"State":0},{"ID":1,"State":1}]}`, `{"outputs":[{"state":0}]}`, `{"outputs":[]}`, `[]`, `null`, ``, `{"ISON":false}`,
		`{"Agent":{"SerialNumber":"24:A4"}}`,
	} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, data []byte, output int) {
		for name, p := range protocols {
			if output < p.first || output > p.last {
				output = p.first
			}
			part := p.judge(data, output)
			if part.State == fencing.PowerOff && (part.Raw != p.off || !bytes.Contains(data, []byte(p.off))) {
				t.Errorf("%s: %q is off", name, data)
			}
			_ = p.identityIn(data)
		}
	})
}

// TestJudge: what is nearly off is not off.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model  string
		output int
		answer string
		want   fencing.PowerState
	}{
		{"shelly-gen1", 0, `{"ison":false,"has_timer":false}`, fencing.PowerOff},
		{"shelly-gen1", 0, `{"ison":false,"has_timer":true}`, fencing.PowerTransition},
		{"shelly-gen1", 0, `{"ISON":false}`, fencing.PowerUnknown},
		{"shelly-gen1", 0, `{"ison":"false"}`, fencing.PowerUnknown},
		{"shelly-gen1", 0, `{"ison":0}`, fencing.PowerUnknown},
		{"shelly-gen2", 1, `{"result":{"id":1,"output":false}}`, fencing.PowerOff},
		{"shelly-gen2", 1, `{"result":{"output":false,"timer_duration":9}}`, fencing.PowerTransition},
		{"shelly-gen2", 1, `{"params":{"output":false}}`, fencing.PowerUnknown},
		{"shelly-gen2", 1, `{"error":{"code":-105}}`, fencing.PowerUnknown},
		{"tasmota", 1, `{"POWER":"OFF"}`, fencing.PowerOff},
		{"tasmota", 2, `{"POWER":"OFF"}`, fencing.PowerUnknown}, // the first one's state, asked for the second
		{"tasmota", 2, `{"POWER1":"OFF","POWER2":"ON"}`, fencing.PowerOn},
		{"tasmota", 1, `{"POWER1":"off"}`, fencing.PowerUnknown},
		{"netio", 2, `{"Outputs":[{"ID":1,"State":0},{"ID":2,"State":1}]}`, fencing.PowerOn},
		{"netio", 2, `{"Outputs":[{"ID":2,"State":0},{"ID":2,"State":1}]}`, fencing.PowerUnknown}, // which of them?
		{"netio", 2, `{"Outputs":[{"ID":2,"Action":0}]}`, fencing.PowerUnknown},
		{"gude", 2, `{"outputs":[{"state":0},{"state":1}]}`, fencing.PowerOn},
		{"gude", 3, `{"outputs":[{"state":0},{"state":1}]}`, fencing.PowerUnknown},
	} {
		if got := protocols[c.model].judge([]byte(c.answer), c.output); got.State != c.want {
			t.Errorf("%s output %d: %s is %s, want %s", c.model, c.output, c.answer, got.State, c.want)
		}
	}
}

// TestProtocols: each row is complete, and on and off differ in every place.
func TestProtocols(t *testing.T) {
	t.Parallel()
	for name, p := range protocols {
		if p.source == "" || p.off == p.on || p.setOff == p.setOn || p.off == "" || p.on == "" || p.setOff == "" || p.setOn == "" || len(p.state) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		off, on := p.set.filled(p.last, p.setOff), p.set.filled(p.last, p.setOn)
		if off == on || off == p.set.filled(p.first, p.setOff) || p.status.path == "" {
			t.Errorf("%s: off is %+v, on is %+v", name, off, on)
		}
		if (p.identity == nil) != (p.identify.path == "") {
			t.Errorf("%s: identity", name)
		}
	}
}
