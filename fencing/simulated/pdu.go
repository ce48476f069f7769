package simulated

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// PDU is a rack power distribution unit behind the same Redfish service (DSP8010: PowerDistribution, Outlet, OutletGroup).
// Its outlets are switched as systems are: their names for Power, SetPower, Commands and the hooks are "PDU/outlet".
type PDU struct {
	ID           string // last part of its path; default "1"
	SerialNumber string
	Outlets      []string            // IDs; default A1 to A4
	Groups       map[string][]string // ID to outlets
	// BareTargets leaves /Actions/ out of the targets of actions, as some published PDUs do.
	BareTargets bool
}

// The faults of PDUs. Those of systems apply to outlets too, where they make sense.
const (
	OutletLocked  Fault = "outlet-locked"  // PowerControlLocked, and 409 to every PowerControl of an outlet
	LastOutletOn  Fault = "last-outlet-on" // the last outlet of a group, or of all, accepts commands and does nothing
	GroupLies     Fault = "group-lies"     // a group says Off although one of its outlets is on
	ForeignTarget Fault = "foreign-target" // the targets of PowerControl are on another server
	SwappedTarget Fault = "swapped-target" // an outlet's PowerControl answers 404 at the usual path; only the published target works
)

func pduFaults() []Fault {
	return []Fault{OutletLocked, LastOutletOn, GroupLies, ForeignTarget, SwappedTarget}
}

func (b *BMC) addPDUs() error {
	b.config.PDUs = slices.Clone(b.config.PDUs)
	for i := range b.config.PDUs {
		p := &b.config.PDUs[i]
		p.ID = cmp.Or(p.ID, fmt.Sprint(i+1))
		if p.Outlets == nil {
			p.Outlets = []string{"A1", "A2", "A3", "A4"}
		}
		for _, o := range p.Outlets {
			id := p.ID + "/" + o
			if b.find(id) != nil {
				return fmt.Errorf("simulated BMC: outlet %q is named twice", id)
			}
			b.outlets = append(b.outlets, &machine{
				System: System{ID: id, AllowableValues: []string{On, "ForceOff"}}, on: true, reported: On,
			})
		}
		for group, outlets := range p.Groups {
			for _, o := range outlets {
				if !slices.Contains(p.Outlets, o) {
					return fmt.Errorf("simulated BMC: group %q has an outlet %q that PDU %q does not have", group, o, p.ID)
				}
			}
		}
	}
	return nil
}

func (p *PDU) path() string { return "/PowerEquipment/RackPDUs/" + p.ID }

func (b *BMC) pdu(id string) *PDU {
	for i := range b.config.PDUs {
		if b.config.PDUs[i].ID == id {
			return &b.config.PDUs[i]
		}
	}
	return nil
}

// servePDUs adds the PDUs' resources and actions.
func (b *BMC) servePDUs(login func(pattern string, h http.HandlerFunc)) {
	var ids []string
	for i := range b.config.PDUs {
		p := &b.config.PDUs[i]
		ids = append(ids, p.ID)
		var groups []string
		for group := range p.Groups {
			groups = append(groups, group)
		}
		slices.Sort(groups)
		login("GET "+root+p.path(), serve(resource(p.path(), "#PowerDistribution.v1_3_3.PowerDistribution", p.ID, object{
			"EquipmentType": "RackPDU", "SerialNumber": p.SerialNumber, "Manufacturer": "Quorate", "Model": "simulated",
			"Outlets": link(p.path() + "/Outlets"), "OutletGroups": link(p.path() + "/OutletGroups"),
		})))
		login("GET "+root+p.path()+"/Outlets", serve(collection(p.path()+"/Outlets", "OutletCollection", p.Outlets...)))
		login("GET "+root+p.path()+"/OutletGroups", serve(collection(p.path()+"/OutletGroups", "OutletGroupCollection", groups...)))
	}
	login("GET "+root+"/PowerEquipment", serve(resource("/PowerEquipment", "#PowerEquipment.v1_2_1.PowerEquipment", "PowerEquipment", object{
		"RackPDUs": link("/PowerEquipment/RackPDUs"),
	})))
	login("GET "+root+"/PowerEquipment/RackPDUs", serve(collection("/PowerEquipment/RackPDUs", "PowerDistributionCollection", ids...)))
	base := root + "/PowerEquipment/RackPDUs/{pdu}"
	login("GET "+base+"/Outlets/{id}", b.serveOutlet)
	login("GET "+base+"/OutletGroups/{id}", b.serveGroup)
	for _, actions := range []string{"/Actions", ""} {
		login("POST "+base+"/Outlets/{id}"+actions+"/Outlet.PowerControl", b.controlOutlet)
		login("POST "+base+"/OutletGroups/{id}"+actions+"/OutletGroup.PowerControl", b.controlGroup)
	}
	login("POST "+base+"/Switch/{id}", b.controlOutlet)
}

// target is where an action is sent to. It needs b.mu.
func (b *BMC) target(p *PDU, path, action string) object {
	switch {
	case b.faults[ForeignTarget]:
		return object{"target": "https://192.0.2.1" + root + path + "/Actions/" + action}
	case b.faults[SwappedTarget] && action == "Outlet.PowerControl":
		return object{"target": root + p.path() + "/Switch/" + strings.TrimPrefix(path, p.path()+"/Outlets/")}
	case p.BareTargets:
		return object{"target": root + path + "/" + action}
	default:
		return object{"target": root + path + "/Actions/" + action}
	}
}

func (b *BMC) serveOutlet(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	p, m := b.pdu(r.PathValue("pdu")), b.find(r.PathValue("pdu")+"/"+r.PathValue("id"))
	if p == nil || m == nil {
		b.mu.Unlock()
		notFound(w, r)
		return
	}
	m.reads++
	path := p.path() + "/Outlets/" + r.PathValue("id")
	control := b.target(p, path, "Outlet.PowerControl")
	if !b.faults[NoValues] {
		control["PowerState@Redfish.AllowableValues"] = b.outletValues()
	}
	o := resource(path, "#Outlet.v1_4_4.Outlet", r.PathValue("id"), object{
		"PowerState": b.powerState(m), "PowerEnabled": m.on, "PowerControlLocked": b.faults[OutletLocked], "PowerOffDelaySeconds": 0,
		"Status": object{"State": "Enabled", "Health": "OK"}, "Actions": object{"#Outlet.PowerControl": control},
	})
	etag, empty := m.etag(), b.faults[EmptyBodyAlways]
	b.mu.Unlock()
	w.Header().Set("ETag", etag)
	if empty {
		w.WriteHeader(http.StatusOK)
		return
	}
	write(w, http.StatusOK, o)
}

func (b *BMC) outletValues() []string {
	if b.faults[NoForceOff] {
		return []string{On, "PowerCycle"}
	}
	return []string{On, Off, "PowerCycle"}
}

func (b *BMC) serveGroup(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pdu(r.PathValue("pdu"))
	if p == nil || p.Groups[r.PathValue("id")] == nil {
		notFound(w, r)
		return
	}
	path := p.path() + "/OutletGroups/" + r.PathValue("id")
	state, links := any(nil), []object{}
	for i, o := range p.Groups[r.PathValue("id")] {
		links = append(links, link(p.path()+"/Outlets/"+o))
		if s := b.powerState(b.find(p.ID + "/" + o)); i == 0 || s == On {
			state = s
		}
	}
	if b.faults[GroupLies] {
		state = Off
	}
	control := b.target(p, path, "OutletGroup.PowerControl")
	control["PowerState@Redfish.AllowableValues"] = b.outletValues()
	write(w, http.StatusOK, resource(path, "#OutletGroup.v1_2_0.OutletGroup", r.PathValue("id"), object{
		"PowerState": state, "Links": object{"Outlets": links, "Outlets@odata.count": len(links)},
		"Actions": object{"#OutletGroup.PowerControl": control},
	}))
}

func (b *BMC) controlOutlet(w http.ResponseWriter, r *http.Request) {
	if b.has(SwappedTarget) && !strings.Contains(r.URL.Path, "/Switch/") {
		notFound(w, r)
		return
	}
	b.control(w, r, r.PathValue("pdu")+"/"+r.PathValue("id"))
}

func (b *BMC) controlGroup(w http.ResponseWriter, r *http.Request) {
	var members []string
	if p := b.pdu(r.PathValue("pdu")); p != nil {
		for _, o := range p.Groups[r.PathValue("id")] {
			members = append(members, p.ID+"/"+o)
		}
	}
	b.control(w, r, members...)
}

// control carries out one PowerControl for some outlets. The parameter is PowerState, as in Outlet.v1_4_4.
func (b *BMC) control(w http.ResponseWriter, r *http.Request, outlets ...string) {
	var action struct{ PowerState string }
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	if err := d.Decode(&action); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedJSON", "The request body was malformed JSON.")
		return
	}
	b.mu.Lock()
	status, why := http.StatusNotFound, "The outlet does not exist."
	for i, id := range outlets {
		m := b.find(id)
		if m == nil {
			break
		}
		bad := b.faults[LastOutletOn] && i == len(outlets)-1 && m == b.lastOutlet(outlets)
		status, why = b.controlOne(m, action.PowerState, r.Header.Get("If-Match"), bad)
		b.commands = append(b.commands, Command{
			System: id, ResetType: action.PowerState, IfMatch: r.Header.Get("If-Match"), Status: status, At: time.Now(),
		})
		if status >= 300 {
			break
		}
	}
	b.gone, b.silent = b.faults[VanishAfterPost], b.faults[StallAfterPost]
	stall := b.faults[StallPost]
	b.mu.Unlock()
	if stall {
		b.hold(r.Context().Done(), func() bool { return b.faults[StallPost] })
	}
	if status < 300 {
		w.WriteHeader(status)
		return
	}
	refuse(w, status, "GeneralError", why)
}

// lastOutlet is the one that LastOutletOn is about: of a group its last, of single commands the PDU's last.
func (b *BMC) lastOutlet(outlets []string) *machine {
	if len(outlets) > 1 {
		return b.find(outlets[len(outlets)-1])
	}
	return b.outlets[len(b.outlets)-1]
}

func (b *BMC) controlOne(m *machine, state, ifMatch string, bad bool) (int, string) {
	kind := map[string]string{On: On, Off: "ForceOff"}[state]
	switch {
	case kind == "":
		return http.StatusBadRequest, fmt.Sprintf("The value %q for the parameter PowerState is not in the list of acceptable values.", state)
	case b.faults[OutletLocked]:
		return http.StatusConflict, "The outlet is locked."
	case bad:
		return http.StatusNoContent, ""
	default:
		return b.reset(m, kind, ifMatch)
	}
}
