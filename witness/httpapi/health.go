package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"

	"quorate/witness"
)

// routeHealth adds what is no JSON API: health, readiness, metrics, and the
// answer for everything that is not there.
func (a *API) routeHealth() {
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok: the process is alive")
	})
	a.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ok, why := a.ready()
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, why)
	})
	if a.opts.Metrics != nil {
		a.mux.Handle("GET /metrics", a.opts.Metrics)
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		e := a.fail(errorf(witness.CodeNotFound, "there is no %s %s; GET /openapi.json lists what there is", r.Method, r.URL.Path), "")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.GetStatus())
		_ = json.NewEncoder(w).Encode(e) // a client that is gone needs no answer
	})
}

// ready says whether this witness can take part in decisions.
func (a *API) ready() (bool, string) {
	n, s := a.b.Node(), a.b.State()
	switch {
	case s.Index == 0:
		return false, "not ready: no log entry is applied yet"
	case !n.Quorum:
		return false, fmt.Sprintf("not ready: no contact to a quorum for %s; reads are answered from log index %d", ago(n.Contact), s.Index)
	}
	return true, fmt.Sprintf("ready: %s at log index %d, leader %s", n.Role, s.Index, n.Leader)
}
