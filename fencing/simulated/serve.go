package simulated

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const root = "/redfish/v1"

// maxRequest bounds a request's body.
const maxRequest = 64 << 10

func (b *BMC) handler() http.Handler {
	mux := http.NewServeMux()
	open := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, h) }
	login := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, b.authenticated(h)) }

	open("GET /redfish", serve(object{"v1": root + "/"}))
	open("GET "+root, b.serveRoot)
	open("POST "+root+"/SessionService/Sessions", b.createSession)
	login("GET "+root+"/SessionService", serve(sessionService()))
	login("GET "+root+"/SessionService/Sessions", b.listSessions)
	login("DELETE "+root+"/SessionService/Sessions/{id}", b.deleteSession)
	login("GET "+root+"/Systems", b.listSystems)
	login("GET "+root+"/Systems/{id}", b.serveSystem)
	login("GET "+root+"/Systems/{id}/ResetActionInfo", b.serveActionInfo)
	login("POST "+root+"/Systems/{id}/Actions/ComputerSystem.Reset", b.serveReset)
	login("GET "+root+"/Chassis/{id}", b.serveChassis)
	login("POST "+root+"/Chassis/{id}/Actions/Chassis.Reset", b.serveReset)
	b.servePDUs(login)
	for path, resource := range b.fixed() {
		login("GET "+root+path, serve(resource))
	}
	return b.stalls(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) > 1 { // clients differ in whether they end a path with a slash
			r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
		}
		w.Header().Set("OData-Version", "4.0")
		mux.ServeHTTP(w, r)
	}))
}

func (b *BMC) authenticated(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.has(Unavailable) {
			refuse(w, http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", "The service is temporarily unavailable. Retry in 30 seconds.")
			return
		}
		if r.Method == http.MethodPost {
			b.forgetSessions()
		}
		if b.has(Unauthorized) || !b.knows(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="simulated BMC"`)
			refuse(w, http.StatusUnauthorized, "NoValidSession", "There is no valid session established with the implementation.")
			return
		}
		next(w, r)
	})
}

// knows reports whether a request carries a valid session or the right user and password.
func (b *BMC) knows(r *http.Request) bool {
	if token := r.Header.Get("X-Auth-Token"); token != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, known := range b.sessions {
			if subtle.ConstantTimeCompare([]byte(known), []byte(token)) == 1 {
				return true
			}
		}
		return false
	}
	user, password, _ := r.BasicAuth()
	return b.isUser(user, password)
}

// forgetSessions once, where that is the fault.
func (b *BMC) forgetSessions() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faults[SessionLost] && !b.forgot {
		b.forgot = true
		clear(b.sessions)
	}
}

func (b *BMC) isUser(user, password string) bool {
	return subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(b.config.User+"\x00"+b.config.Password)) == 1
}

// Sessions is how many sessions are open.
func (b *BMC) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

func (b *BMC) createSession(w http.ResponseWriter, r *http.Request) {
	var login struct{ UserName, Password string }
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&login)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "MalformedJSON", "The request body was malformed JSON.")
		return
	case b.has(SessionsFull):
		refuse(w, http.StatusServiceUnavailable, "SessionLimitExceeded", "RAC0218: The maximum number of user sessions is reached.")
		return
	case b.has(Unauthorized) || !b.isUser(login.UserName, login.Password):
		refuse(w, http.StatusUnauthorized, "NoValidSession", "The user name or password is wrong.")
		return
	}
	token := rand.Text()
	b.mu.Lock()
	b.serial++
	id := fmt.Sprint(b.serial)
	b.sessions[id] = token
	b.mu.Unlock()
	w.Header().Set("X-Auth-Token", token)
	w.Header().Set("Location", root+"/SessionService/Sessions/"+id)
	write(w, http.StatusCreated, session(id, b.config.User))
}

func (b *BMC) deleteSession(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.sessions[r.PathValue("id")]; !ok {
		notFound(w, r)
		return
	}
	delete(b.sessions, r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
}

func (b *BMC) serveReset(w http.ResponseWriter, r *http.Request) {
	var action struct{ ResetType string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&action); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedJSON", "The request body was malformed JSON.")
		return
	}
	b.mu.Lock()
	m := b.find(r.PathValue("id"))
	if m == nil {
		b.mu.Unlock()
		notFound(w, r)
		return
	}
	ifMatch := r.Header.Get("If-Match")
	status, why := b.reset(m, action.ResetType, ifMatch)
	stall := b.faults[StallPost]
	b.gone = b.faults[VanishAfterPost]
	b.silent = b.faults[StallAfterPost]
	c := Command{System: m.ID, ResetType: action.ResetType, IfMatch: ifMatch, Status: status, At: time.Now()}
	if stall {
		c.Status = 0
	}
	b.commands = append(b.commands, c)
	b.mu.Unlock()
	b.config.Logger.Info("action", "system", c.System, "reset_type", c.ResetType, "status", c.Status)

	if stall {
		b.hold(r.Context().Done(), func() bool { return b.faults[StallPost] })
	}
	if status == http.StatusAccepted {
		w.Header().Set("Location", root+"/TaskService/Tasks/1")
	}
	if status < 300 {
		w.WriteHeader(status)
		return
	}
	refuse(w, status, "GeneralError", why)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "The resource at the URI "+r.URL.Path+" was not found.")
}

func refuse(w http.ResponseWriter, status int, id, message string) {
	id = "Base.1.18." + id
	write(w, status, object{"error": object{
		"code": id, "message": message,
		"@Message.ExtendedInfo": []object{{"MessageId": id, "Message": message, "Severity": "Critical"}},
	}})
}

func serve(resource object) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, resource) }
}

func write(w http.ResponseWriter, status int, resource object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(resource) // the client is gone, then
}
