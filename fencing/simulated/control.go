package simulated

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// Control lets another process set faults and power. It asks for no login: serve it on a loopback address only.
//
//	GET  /control/fault  {"faults":["lie"],"delay":"0s","known":["stall-connect",…]}
//	POST /control/fault  {"faults":["lie"],"delay":"2s"}      replaces the faults; no faults: healthy. delay is optional
//	GET  /control/power  {"systems":{"1":"On"},"commands":[…]}  what the machines really do
//	POST /control/power  {"system":"1","power":"Off"}         at once, without hooks
func (b *BMC) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /control/fault", b.getFault)
	mux.HandleFunc("POST /control/fault", b.postFault)
	mux.HandleFunc("GET /control/power", b.getPower)
	mux.HandleFunc("POST /control/power", b.postPower)
	return mux
}

func (b *BMC) getFault(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	delay := b.delay
	b.mu.Unlock()
	write(w, http.StatusOK, object{"faults": append([]Fault{}, b.Fault()...), "delay": delay.String(), "known": Faults()})
}

func (b *BMC) postFault(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Faults []Fault `json:"faults"`
		Delay  string  `json:"delay"`
	}
	if !decode(w, r, &body) {
		return
	}
	if body.Delay != "" {
		delay, err := time.ParseDuration(body.Delay)
		if err != nil || delay < 0 {
			http.Error(w, "delay: not a duration such as 2s", http.StatusBadRequest)
			return
		}
		b.SetDelay(delay)
	}
	if err := b.SetFault(body.Faults...); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.getFault(w, r)
}

func (b *BMC) getPower(w http.ResponseWriter, _ *http.Request) {
	systems := map[string]string{}
	for _, m := range append(slices.Clone(b.systems), b.outlets...) {
		systems[m.ID] = b.Power(m.ID)
	}
	write(w, http.StatusOK, object{"systems": systems, "commands": append([]Command{}, b.Commands()...)})
}

func (b *BMC) postPower(w http.ResponseWriter, r *http.Request) {
	var body struct {
		System string `json:"system"`
		Power  string `json:"power"`
	}
	if !decode(w, r, &body) {
		return
	}
	if err := b.SetPower(body.System, body.Power); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.getPower(w, r)
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		http.Error(w, "the body is not the JSON expected: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
