package relay_test

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	user     = "admin"
	password = "s3cret&of=the relay"
	mac      = "24:A4:2C:39:11:5A"
)

// sim is a relay of one model, after the documentation that README.md names. It is written independently of protocols.go.
type sim struct {
	model string
	url   string
	algo  string // of digest
	done  chan struct{}

	mu       sync.Mutex
	on       map[int]bool // what the outputs really do
	fault    string
	answer   string // instead of the state
	nonces   int
	requests []string // method, path and query as they arrived
}

func start(t *testing.T, model string, outputs ...int) *sim {
	t.Helper()
	s := &sim{model: model, on: map[int]bool{}, algo: "SHA-256", done: make(chan struct{})}
	for _, n := range outputs {
		s.on[n] = true
	}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	s.url = server.URL
	t.Cleanup(func() {
		close(s.done)
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

func (s *sim) set(fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *sim) running(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on[n]
}

func (s *sim) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	s.mu.Unlock()
	switch fault {
	case "silent":
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
		return
	case "redirect":
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		return
	case "500":
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	case "html":
		fmt.Fprint(w, "<html>please log in</html>")
		return
	case "empty":
		return
	}
	open := r.URL.Path == "/shelly"
	if fault == "unauthorized" || !open && !s.loggedIn(w, r) {
		if s.model == "tasmota" {
			fmt.Fprint(w, `{"WARNING":"Need user=<username>&password=<password>"}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.model {
	case "shelly-gen1":
		s.gen1(w, r)
	case "shelly-gen2":
		s.gen2(w, r)
	case "tasmota":
		s.tasmota(w, r)
	case "netio":
		s.netio(w, r)
	case "gude":
		s.gude(w, r)
	}
	if s.fault == "vanish" && s.off() {
		s.fault = "silent"
	}
}

// off reports whether any output is off.
func (s *sim) off() bool {
	for _, on := range s.on {
		if !on {
			return true
		}
	}
	return false
}

func (s *sim) loggedIn(w http.ResponseWriter, r *http.Request) bool {
	switch s.model {
	case "tasmota":
		return r.URL.Query().Get("user") == user && r.URL.Query().Get("password") == password
	case "shelly-gen2":
		return s.digest(w, r)
	default:
		u, p, _ := r.BasicAuth()
		return u == user && p == password
	}
}

// digest checks a login after RFC 7616, and refuses the password in any other form.
func (s *sim) digest(w http.ResponseWriter, r *http.Request) bool {
	fields := map[string]string{}
	header, isDigest := strings.CutPrefix(r.Header.Get("Authorization"), "Digest ")
	for _, field := range strings.Split(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = strings.Trim(value, `"`)
	}
	sum := func(text string) string {
		var h hash.Hash = sha256.New()
		if s.algo == "MD5" {
			h = md5.New()
		}
		h.Write([]byte(text))
		return hex.EncodeToString(h.Sum(nil))
	}
	realm := "shellyplug-" + strings.ToLower(strings.ReplaceAll(mac, ":", ""))
	want := sum(strings.Join([]string{
		sum(user + ":" + realm + ":" + password), fields["nonce"], fields["nc"], fields["cnonce"], "auth", sum(r.Method + ":" + r.URL.RequestURI()),
	}, ":"))
	if isDigest && fields["response"] == want {
		return true
	}
	s.mu.Lock()
	s.nonces++
	nonce := s.nonces
	s.mu.Unlock()
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest qop="auth", realm="%s", nonce="%d", algorithm=%s`, realm, nonce, s.algo))
	return false
}

// turn switches an output, as far as the fault allows.
func (s *sim) turn(n int, on bool) {
	if _, there := s.on[n]; there && s.fault != "lie" {
		s.on[n] = on
	}
}

// state is what the device says of an output: yes or no in its own words, or nonsense.
func (s *sim) state(n int, yes, no string) string {
	switch {
	case s.answer != "":
		return s.answer
	case s.on[n]:
		return yes
	default:
		return no
	}
}

func (s *sim) gen1(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/shelly" {
		fmt.Fprintf(w, `{"type":"SHSW-1","mac":"%s","auth":true,"num_outputs":1}`, strings.ReplaceAll(mac, ":", ""))
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/relay/"))
	if _, there := s.on[n]; err != nil || !there {
		http.NotFound(w, r)
		return
	}
	if turn := r.URL.Query().Get("turn"); turn != "" {
		s.turn(n, turn == "on")
	}
	fmt.Fprintf(w, `{"ison":%s,"has_timer":%t,"source":"http"}`, s.state(n, "true", "false"), s.fault == "timer")
}

func (s *sim) gen2(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/shelly" {
		fmt.Fprintf(w, `{"id":"shellyplug","mac":"%s","gen":2,"auth_en":true}`, strings.ReplaceAll(mac, ":", ""))
		return
	}
	var call struct {
		ID     int    `json:"id"`
		Method string `json:"method"`
		Params struct {
			ID int   `json:"id"`
			On *bool `json:"on"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil || r.URL.Path != "/rpc" {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	n := call.Params.ID
	if _, there := s.on[n]; !there {
		fmt.Fprintf(w, `{"id":%d,"error":{"code":-105,"message":"Argument 'id', value %d not found!"}}`, call.ID, n)
		return
	}
	if call.Method == "Switch.Set" && call.Params.On != nil {
		was := s.on[n]
		s.turn(n, *call.Params.On)
		fmt.Fprintf(w, `{"id":%d,"src":"shelly","result":{"was_on":%t}}`, call.ID, was)
		return
	}
	timer := ""
	if s.fault == "timer" {
		timer = `,"timer_started_at":1626942399.36,"timer_duration":60`
	}
	fmt.Fprintf(w, `{"id":%d,"src":"shelly","result":{"id":%d,"source":"http","output":%s%s,"apower":0.0}}`, call.ID, n, s.state(n, "true", "false"), timer)
}

func (s *sim) tasmota(w http.ResponseWriter, r *http.Request) {
	name, value, _ := strings.Cut(r.URL.Query().Get("cmnd"), " ")
	if name == "Status" && value == "5" {
		fmt.Fprintf(w, `{"StatusNET":{"Hostname":"plug","IPAddress":"10.0.0.9","Mac":"%s"}}`, mac)
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(name, "Power"))
	if _, there := s.on[n]; err != nil || !there {
		fmt.Fprint(w, `{"Command":"Unknown"}`)
		return
	}
	if value != "" {
		s.turn(n, value == "On")
	}
	word := fmt.Sprintf("POWER%d", n)
	if len(s.on) == 1 {
		word = "POWER"
	}
	fmt.Fprintf(w, `{"%s":%s}`, word, s.state(n, `"ON"`, `"OFF"`))
}

func (s *sim) netio(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/netio.json" {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodPost {
		var order struct{ Outputs []struct{ ID, Action int } }
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		for _, o := range order.Outputs {
			if o.Action <= 1 {
				s.turn(o.ID, o.Action == 1)
			}
		}
	}
	var outputs []string
	for n := 1; n <= 8; n++ {
		if _, there := s.on[n]; there {
			outputs = append(outputs, fmt.Sprintf(`{"ID":%d,"Name":"output_%d","State":%s,"Action":6,"Delay":5000}`, n, n, s.state(n, "1", "0")))
		}
	}
	fmt.Fprintf(w, `{"Agent":{"Model":"NETIO 4All","JSONVer":"2.1","SerialNumber":"%s"},"Outputs":[%s]}`, mac, strings.Join(outputs, ","))
}

func (s *sim) gude(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch r.URL.Path {
	case "/ov.html":
		if n, err := strconv.Atoi(q.Get("p")); err == nil && q.Get("cmd") == "1" {
			s.turn(n, q.Get("s") == "1")
		}
		fmt.Fprint(w, "<html>ok</html>")
	case "/status.json":
		var outputs []string
		for n := 1; n <= 8; n++ {
			outputs = append(outputs, fmt.Sprintf(`{"name":"Power Port %d","state":%s}`, n, s.state(n, "1", "0")))
		}
		fmt.Fprintf(w, `{"outputs":[%s]}`, strings.Join(outputs, ","))
	default:
		http.NotFound(w, r)
	}
}

// seen returns the requests so far.
func (s *sim) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}
