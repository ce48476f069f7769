package redfish

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"quorate/fencing"
)

// system is what fencing needs of a ComputerSystem resource (DSP0268). It is parsed here and not by gofish, whose type
// covers the whole schema: one vendor's ill-typed field anywhere in it would make the power state unreadable.
type system struct {
	power       string // PowerState as sent; empty if absent, null or not a string
	uuid        string
	serial      string
	hostName    string
	resetAction // #ComputerSystem.Reset
}

// resetAction is how a resource says that it can be reset (DSP0266, "Actions").
type resetAction struct {
	target     string   // empty: it cannot
	allowed    []string // ResetType@Redfish.AllowableValues
	actionInfo string   // link to further allowable values
}

func (o object) resetAction(name string) resetAction {
	reset := o.object("Actions").object(name)
	return resetAction{
		target:     reset.text("target"),
		allowed:    reset.texts("ResetType@Redfish.AllowableValues"),
		actionInfo: reset.text("@Redfish.ActionInfo"),
	}
}

type object map[string]json.RawMessage

func parseObject(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("the answer is no JSON object: %w", err)
	}
	return o, nil
}

// text returns a member that is a string. Names are compared exactly: encoding/json's structs would take "powerstate".
func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// flag returns a member that is a boolean; false if it is none.
func (o object) flag(name string) bool {
	var b bool
	return json.Unmarshal(o[name], &b) == nil && b
}

// number returns a member that is a number; 0 if it is none.
func (o object) number(name string) float64 {
	var n float64
	if json.Unmarshal(o[name], &n) != nil {
		return 0
	}
	return n
}

func (o object) object(name string) object {
	var child object
	if json.Unmarshal(o[name], &child) != nil {
		return nil
	}
	return child
}

func (o object) texts(name string) []string {
	var list []json.RawMessage
	if json.Unmarshal(o[name], &list) != nil {
		return nil
	}
	var texts []string
	for _, raw := range list {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

func (o object) objects(name string) []object {
	var list []object
	if json.Unmarshal(o[name], &list) != nil {
		return nil
	}
	return list
}

var errNotSystem = errors.New("the answer is not a computer system")

func parseSystem(data []byte) (system, error) {
	o, err := parseObject(data)
	if err != nil {
		return system{}, err
	}
	// A chassis and an outlet have a PowerState too.
	if kind := o.text("@odata.type"); kind != "" && !strings.HasPrefix(kind, "#ComputerSystem.") {
		return system{}, errNotSystem
	}
	return system{
		power:       o.text("PowerState"),
		uuid:        o.text("UUID"),
		serial:      o.text("SerialNumber"),
		hostName:    o.text("HostName"),
		resetAction: o.resetAction("#ComputerSystem.Reset"),
	}, nil
}

// parseActionInfo returns the allowable values of a parameter in an ActionInfo resource (DSP0266, 9.4 "Actions").
func parseActionInfo(data []byte, name string) ([]string, error) {
	o, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	for _, parameter := range o.objects("Parameters") {
		if parameter.text("Name") == name {
			return parameter.texts("AllowableValues"), nil
		}
	}
	return nil, nil
}

// parseMembers returns the links of a collection, and the link to its next page.
func parseMembers(data []byte) (members []string, next string, err error) {
	o, err := parseObject(data)
	if err != nil {
		return nil, "", err
	}
	for _, member := range o.objects("Members") {
		if link := member.text("@odata.id"); link != "" {
			members = append(members, link)
		}
	}
	return members, o.text("Members@odata.nextLink"), nil
}

// powerState maps DSP0268's PowerState. Exactly "Off" is off.
func powerState(raw string) fencing.PowerState {
	switch raw {
	case "Off":
		return fencing.PowerOff
	case "On":
		return fencing.PowerOn
	case "PoweringOff", "PoweringOn", "Paused":
		return fencing.PowerTransition
	default:
		return fencing.PowerUnknown
	}
}
