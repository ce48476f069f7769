package simulated

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

type object map[string]any

func link(path string) object { return object{"@odata.id": root + path} }

func resource(path, kind, id string, more object) object {
	o := object{"@odata.id": root + path, "@odata.type": kind, "Id": id, "Name": id}
	maps.Copy(o, more)
	return o
}

func collection(path, kind string, members ...string) object {
	links := make([]object, len(members))
	for i, m := range members {
		links[i] = link(path + "/" + m)
	}
	return object{
		"@odata.id": root + path, "@odata.type": "#" + kind + "." + kind, "Name": kind,
		"Members": links, "Members@odata.count": len(links),
	}
}

func (b *BMC) serveRoot(w http.ResponseWriter, _ *http.Request) {
	o := object{
		"@odata.id": root + "/", "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot",
		"Id": "RootService", "Name": "simulated BMC", "RedfishVersion": "1.18.0",
		"Systems": link("/Systems"), "Chassis": link("/Chassis"), "Managers": link("/Managers"),
		"SessionService": link("/SessionService"), "AccountService": link("/AccountService"),
		"Links": object{"Sessions": link("/SessionService/Sessions")},
	}
	if len(b.config.PDUs) > 0 {
		o["PowerEquipment"] = link("/PowerEquipment")
	}
	if b.has(NoSessions) {
		delete(o, "Links")
		delete(o, "SessionService")
	}
	write(w, http.StatusOK, o)
}

// fixed are the resources that never change, by path below the root.
func (b *BMC) fixed() map[string]object {
	var ids []string
	resources := map[string]object{
		"/Managers": collection("/Managers", "ManagerCollection", "BMC"),
		"/Managers/BMC": resource("/Managers/BMC", "#Manager.v1_19_0.Manager", "BMC", object{
			"ManagerType": "BMC", "Status": object{"State": "Enabled", "Health": "OK"},
		}),
		"/AccountService": resource("/AccountService", "#AccountService.v1_15_0.AccountService", "AccountService", object{
			"Accounts": link("/AccountService/Accounts"), "Roles": link("/AccountService/Roles"),
		}),
		"/AccountService/Accounts": collection("/AccountService/Accounts", "ManagerAccountCollection", "1"),
		"/AccountService/Accounts/1": resource("/AccountService/Accounts/1", "#ManagerAccount.v1_12_0.ManagerAccount", "1", object{
			"UserName": b.config.User, "RoleId": b.config.Role, "Enabled": true, "Locked": false,
			"Links": object{"Role": link("/AccountService/Roles/" + b.config.Role)},
		}),
		"/AccountService/Roles": collection("/AccountService/Roles", "RoleCollection", b.config.Role),
		"/AccountService/Roles/" + b.config.Role: resource("/AccountService/Roles/"+b.config.Role, "#Role.v1_3_1.Role", b.config.Role, object{
			"RoleId": b.config.Role, "IsPredefined": true, "AssignedPrivileges": privileges(b.config.Role),
		}),
	}
	for _, m := range b.systems {
		if len(ids) == 0 || !b.config.SharedChassis {
			ids = append(ids, m.ID)
		}
	}
	resources["/Chassis"] = collection("/Chassis", "ChassisCollection", ids...)
	return resources
}

// serveChassis answers with the chassis of one system, or of all of them.
func (b *BMC) serveChassis(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := r.PathValue("id")
	m := b.find(id)
	if m == nil || (b.config.SharedChassis && m != b.systems[0]) {
		notFound(w, r)
		return
	}
	var systems []object
	for _, other := range b.systems {
		if other == m || b.config.SharedChassis {
			systems = append(systems, link("/Systems/"+other.ID))
		}
	}
	more := object{"ChassisType": "RackMount", "PowerState": b.powerState(m), "Links": object{"ComputerSystems": systems}}
	if m.ChassisReset {
		more["Actions"] = object{"#Chassis.Reset": object{
			"target": root + "/Chassis/" + id + "/Actions/Chassis.Reset", "ResetType@Redfish.AllowableValues": b.values(m),
		}}
	}
	write(w, http.StatusOK, resource("/Chassis/"+id, "#Chassis.v1_25_0.Chassis", id, more))
}

// privileges of DSP0266's predefined roles.
func privileges(role string) []string {
	all := []string{"Login", "ConfigureSelf", "ConfigureComponents", "ConfigureUsers", "ConfigureManager"}
	switch role {
	case "Administrator":
		return all
	case "Operator":
		return all[:3]
	default:
		return all[:2]
	}
}

func sessionService() object {
	return resource("/SessionService", "#SessionService.v1_1_9.SessionService", "SessionService", object{
		"ServiceEnabled": true, "SessionTimeout": 1800, "Sessions": link("/SessionService/Sessions"),
	})
}

func session(id, user string) object {
	return resource("/SessionService/Sessions/"+id, "#Session.v1_7_2.Session", id, object{"UserName": user})
}

func (b *BMC) listSessions(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	ids := slices.Sorted(maps.Keys(b.sessions))
	b.mu.Unlock()
	write(w, http.StatusOK, collection("/SessionService/Sessions", "SessionCollection", ids...))
}

func (b *BMC) listSystems(w http.ResponseWriter, _ *http.Request) {
	var ids []string
	for _, m := range b.systems { // the set of systems never changes
		ids = append(ids, m.ID)
	}
	write(w, http.StatusOK, collection("/Systems", "ComputerSystemCollection", ids...))
}

func (m *machine) etag() string { return fmt.Sprintf(`W/"%s-%d"`, m.ID, m.version) }

func (b *BMC) serveSystem(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	m := b.find(r.PathValue("id"))
	if m == nil {
		b.mu.Unlock()
		notFound(w, r)
		return
	}
	m.reads++
	o, etag := b.system(m), m.etag()
	moving := m.reported == PoweringOff || m.reported == PoweringOn
	empty := b.faults[EmptyBodyAlways] || (b.faults[EmptyBody] && moving)
	b.mu.Unlock()
	w.Header().Set("ETag", etag)
	if empty {
		w.WriteHeader(http.StatusOK)
		return
	}
	write(w, http.StatusOK, o)
}

// system is the resource as it is reported now. It needs b.mu.
func (b *BMC) system(m *machine) object {
	path := "/Systems/" + m.ID
	reset := object{"target": root + path + "/Actions/ComputerSystem.Reset"}
	switch {
	case b.faults[NoValues]:
	case m.ActionInfo:
		reset["@Redfish.ActionInfo"] = root + path + "/ResetActionInfo"
	default:
		reset["ResetType@Redfish.AllowableValues"] = b.values(m)
	}
	actions := object{"#ComputerSystem.Reset": reset}
	if m.ChassisReset {
		actions = object{}
	}
	return resource(path, "#ComputerSystem.v1_22_0.ComputerSystem", m.ID, object{
		"SystemType": "Physical", "UUID": m.UUID, "SerialNumber": m.SerialNumber, "HostName": m.HostName,
		"Manufacturer": "Quorate", "Model": "simulated", "PowerState": b.powerState(m),
		"Status":  object{"State": "Enabled", "Health": "OK"},
		"Actions": actions,
		"Links":   object{"Chassis": []object{link("/Chassis/" + m.ID)}, "ManagedBy": []object{link("/Managers/BMC")}},
	})
}

func (b *BMC) powerState(m *machine) any {
	switch {
	case b.faults[StatePaused]:
		return "Paused"
	case b.faults[StateNull]:
		return nil
	case b.faults[ReportsOff], b.faults[FlickersOff] && m.reads%2 == 0:
		return Off
	default:
		return m.reported
	}
}

func (b *BMC) values(m *machine) []string {
	if b.faults[NoForceOff] {
		return []string{On, "GracefulShutdown", "PowerOffNonGraceful"}
	}
	return m.AllowableValues
}

func (b *BMC) serveActionInfo(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.find(r.PathValue("id"))
	if m == nil || !m.ActionInfo {
		notFound(w, r)
		return
	}
	write(w, http.StatusOK, resource("/Systems/"+m.ID+"/ResetActionInfo", "#ActionInfo.v1_4_2.ActionInfo", "ResetActionInfo", object{
		"Parameters": []object{{"Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": b.values(m)}},
	}))
}
