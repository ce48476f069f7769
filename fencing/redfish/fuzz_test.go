package redfish

import (
	"bytes"
	"testing"

	"quorate/fencing"
)

// FuzzSystem: no answer makes a panic, and none is off that does not say exactly "Off".
func FuzzSystem(f *testing.F) {
	for _, seed := range []string{
		`{"PowerState":"Off"}`, `{"PowerState":"off"}`, `{"powerstate":"Off"}`, `{"PowerState":null}`, `{"PowerState":["Off"]}`, ``, `[]`, `null`,
		`{"@odata.type":"#Chassis.v1_0_0.Chassis","PowerState":"Off"}`,
		`{"Actions":{"#ComputerSystem.Reset":{"target":"/x","ResetType@Redfish.AllowableValues":["ForceOff",1]}}}`,
		`{"Members":[{"@odata.id":"/a"}],"Members@odata.nextLink":"/b"}`, `{"Parameters":[{"Name":"ResetType","AllowableValues":["On"]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sys, err := parseSystem(data)
		if err == nil && powerState(sys.power) == fencing.PowerOff && !bytes.Contains(data, []byte(`Off`)) && !bytes.Contains(data, []byte(`\u`)) {
			t.Errorf("%q is off", data)
		}
		_, _, _ = parseMembers(data)
		_, _ = parseActionInfo(data, "ResetType")
	})
}
