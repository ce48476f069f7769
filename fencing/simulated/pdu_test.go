package simulated

import (
	"testing"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/redfish"
)

// TestGofishDrivesPDU lets gofish, which is not ours, find the PDU and switch an outlet and a group by its own types.
func TestGofishDrivesPDU(t *testing.T) {
	bmc := start(t, Config{PDUs: []PDU{{Groups: map[string][]string{"db1": {"A2", "A3"}}}}})
	client, err := gofish.Connect(gofish.ClientConfig{Endpoint: bmc.URL(), Username: "admin", Password: "password", BasicAuth: true, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	equipment, err := client.Service.PowerEquipment()
	if err != nil {
		t.Fatal(err)
	}
	pdus, err := equipment.RackPDUs()
	if err != nil || len(pdus) != 1 {
		t.Fatalf("%v, %v", pdus, err)
	}
	outlets, err := pdus[0].Outlets()
	if err != nil || len(outlets) != 4 {
		t.Fatalf("%v, %v", outlets, err)
	}
	groups, err := pdus[0].OutletGroups()
	if err != nil || len(groups) != 1 || groups[0].OutletsCount != 2 {
		t.Fatalf("%v, %v", groups, err)
	}
	for _, o := range outlets {
		if o.PowerState != redfish.OnPowerState {
			t.Errorf("%s is %s", o.ID, o.PowerState)
		}
		if o.ID != "A1" {
			continue
		}
		o.DisableEtagMatch(true)
		if err := o.PowerControl(redfish.OffActionPowerState); err != nil {
			t.Error(err)
		}
	}
	groups[0].DisableEtagMatch(true)
	if err := groups[0].PowerControl(redfish.OffPowerState); err != nil {
		t.Error(err)
	}
	for outlet, want := range map[string]string{"1/A1": "Off", "1/A2": "Off", "1/A3": "Off", "1/A4": "On"} {
		await(t, outlet+" "+want, func() bool { return bmc.Power(outlet) == want })
	}
}
