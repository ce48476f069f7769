package relay

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"quorate/fencing"
)

// find follows a path through an answer. It returns nil where the path leads nowhere, or to two places.
func find(data []byte, path []string, output, first int) json.RawMessage {
	at := json.RawMessage(data)
	for _, step := range path {
		step = strings.ReplaceAll(step, "{n}", strconv.Itoa(output))
		switch {
		case strings.HasPrefix(step, "#"):
			at = member(at, step[1:], output)
		case step == "@":
			var list []json.RawMessage
			if json.Unmarshal(at, &list) != nil || output-first >= len(list) {
				return nil
			}
			at = list[output-first]
		default:
			at = field(at, step)
		}
		if at == nil {
			return nil
		}
	}
	return at
}

// field compares names exactly: encoding/json would take "OUTPUT" for "output" in a struct.
func field(data json.RawMessage, name string) json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil {
		return nil
	}
	return object[name]
}

// member picks the object of a list whose key is the number. It must be the only one.
func member(data json.RawMessage, key string, number int) json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		return nil
	}
	var found json.RawMessage
	for _, entry := range list {
		if string(field(entry, key)) == strconv.Itoa(number) {
			if found != nil {
				return nil
			}
			found = entry
		}
	}
	return found
}

// judge makes the state of one output of an answer. Exactly the value for off is off.
func (p protocol) judge(data []byte, output int) fencing.Part {
	part := fencing.Part{Name: fmt.Sprintf("output %d", output), State: fencing.PowerUnknown}
	state := find(data, p.state, output, p.first)
	if state == nil && p.auth == "query" && output == p.first {
		state = field(data, "POWER") // Tasmota with one relay leaves the number out
	}
	if state == nil {
		part.Raw = "no state in the answer"
		return part
	}
	part.Raw = string(state)
	switch part.Raw {
	case p.off:
		part.State = fencing.PowerOff
	case p.on:
		part.State = fencing.PowerOn
	}
	if p.timer != nil {
		if timer := find(data, p.timer, output, p.first); timer != nil && string(timer) != "false" && string(timer) != "0" && string(timer) != "null" {
			part.State, part.Raw = fencing.PowerTransition, part.Raw+", and a timer will switch it"
		}
	}
	return part
}

// identityIn is the device's MAC address or serial number, in the form in which it is compared.
func (p protocol) identityIn(data []byte) string {
	var text string
	if json.Unmarshal(find(data, p.identity, p.first, p.first), &text) != nil {
		return ""
	}
	return plain(text)
}

// plain leaves out what makers write differently.
func plain(identity string) string {
	return strings.ToLower(strings.NewReplacer(":", "", "-", "", " ", "").Replace(identity))
}
