package relay

import (
	"fmt"
	"net/http"
	"strings"
)

// protocol describes how one family of devices is asked and told. In paths and bodies {n} stands for the output's number and
// {v} for the value of on or off.
type protocol struct {
	first, last int    // numbers of outputs
	auth        string // how the device takes a login: basic, digest, or query (Tasmota: in the address)

	status  request
	state   []string // where the state stands in the answer to status; "#KEY" picks the member of a list whose KEY is the number, "@" the one at its place
	off, on string   // the JSON values of the state; anything else is no state
	timer   []string // present and not false or 0: the output will switch by itself

	set           request
	setOff, setOn string   // values of {v}
	identify      request  // asks who the device is
	identity      []string // where its MAC address or serial number stands; none: it cannot be asked
	source        string   // where all this is from
	lacking       string   // what makes it experimental
}

type request struct{ method, path, body string }

// filled puts the numbers in.
func (r request) filled(output int, value string) request {
	replace := strings.NewReplacer("{n}", fmt.Sprint(output), "{v}", value)
	return request{r.method, replace.Replace(r.path), replace.Replace(r.body)}
}

// protocols by the name that stands in the setting model. None of them has been run against a device of the maker: see
// README.md for what each rests on.
var protocols = map[string]protocol{
	"shelly-gen1": {
		first: 0, last: 7, auth: "basic",
		status: request{method: http.MethodGet, path: "/relay/{n}"},
		state:  []string{"ison"}, off: "false", on: "true", timer: []string{"has_timer"},
		set: request{method: http.MethodGet, path: "/relay/{n}?turn={v}"}, setOff: "off", setOn: "on",
		identify: request{method: http.MethodGet, path: "/shelly"}, identity: []string{"mac"},
		source: "shelly-api-docs.shelly.cloud/gen1 as quoted by Power::Outlet::Shelly; recorded answers of a Shelly 1 to /shelly and /status",
	},
	"shelly-gen2": {
		first: 0, last: 15, auth: "digest",
		status: request{method: http.MethodPost, path: "/rpc", body: `{"id":1,"method":"Switch.GetStatus","params":{"id":{n}}}`},
		state:  []string{"result", "output"}, off: "false", on: "true", timer: []string{"result", "timer_duration"},
		set:    request{method: http.MethodPost, path: "/rpc", body: `{"id":1,"method":"Switch.Set","params":{"id":{n},"on":{v}}}`},
		setOff: "false", setOn: "true",
		identify: request{method: http.MethodGet, path: "/shelly"}, identity: []string{"mac"},
		source: "shelly-api-docs.shelly.cloud/gen2: Switch, Authentication, Shelly; fence-agents 0804740 fence_shelly_gen2",
	},
	"tasmota": {
		first: 1, last: 32, auth: "query",
		status: request{method: http.MethodGet, path: "/cm?cmnd=Power{n}"},
		state:  []string{"POWER{n}"}, off: `"OFF"`, on: `"ON"`,
		set: request{method: http.MethodGet, path: "/cm?cmnd=Power{n}%20{v}"}, setOff: "Off", setOn: "On",
		identify: request{method: http.MethodGet, path: "/cm?cmnd=Status%205"}, identity: []string{"StatusNET", "Mac"},
		source:  "tasmota.github.io/docs/Commands; Power::Outlet::Tasmota",
		lacking: "the answer to Status 5, by which the device is recognised, and that to a wrong password are from memory",
	},
	"netio": {
		first: 1, last: 16, auth: "basic",
		status: request{method: http.MethodGet, path: "/netio.json"},
		state:  []string{"Outputs", "#ID", "State"}, off: "0", on: "1",
		set: request{method: http.MethodPost, path: "/netio.json", body: `{"Outputs":[{"ID":{n},"Action":{v}}]}`}, setOff: "0", setOn: "1",
		identify: request{method: http.MethodGet, path: "/netio.json"}, identity: []string{"Agent", "SerialNumber"},
		source: "wiki.netio-products.com JSON API; NETIO application notes AN19 and AN21; an answer recorded in lua-netio's manual",
	},
	"gude": {
		first: 1, last: 24, auth: "basic",
		status: request{method: http.MethodGet, path: "/status.json?components=1"},
		state:  []string{"outputs", "@", "state"}, off: "0", on: "1",
		set: request{method: http.MethodGet, path: "/ov.html?cmd=1&p={n}&s={v}"}, setOff: "0", setOn: "1",
		source:  "labgrid's drivers gude8031 and gude8225, tested by their authors; the maker's EPC HTTP interface as they quote it",
		lacking: "the device cannot be recognised, since no source says where its answer has a serial number; it must be in Basic Compatible mode",
	},
}
