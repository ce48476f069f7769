//go:build integration

package fencing

import (
	"fmt"
	"testing"
	"time"

	"quorate/fencing"
	fenceagent "quorate/fencing/agent"
)

// TestAgentDriverAndTheLie: fence_apc_snmp switches one of two outlets and reports success for both. Run by our driver it
// switches both, because each plug has runs of its own; and when one outlet does not obey, nothing is confirmed.
func TestAgentDriverAndTheLie(t *testing.T) {
	p := startPDU(t, "apc-rpdu", 0)
	if code, says := agent(t, p, "fence_apc_snmp", append([]string{"-n", "3,5", "-o", "off"}, byCommunity...)...); code != 0 || p.on("3") || !p.on("5") {
		t.Logf("this fence_apc_snmp does not lie any more: exit %d %q, outlets 3 and 5 on: %t %t", code, says, p.on("3"), p.on("5"))
	}
	d, err := fenceagent.New(fenceagent.Config{
		Agent: "fence_apc_snmp", Plugs: []string{"3", "5"}, StatusTimeout: time.Minute, CallTimeout: time.Minute, AttemptTimeout: 3 * time.Minute,
		Options: map[string]string{"ip": "127.0.0.1", "ipport": fmt.Sprint(p.port), "community": writeCommunity, "snmp_version": "2c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := fencing.Off(t.Context(), host(d), fencing.Timing{Operation: 5 * time.Minute})
	if r.Outcome != fencing.Confirmed || r.Evidence.Grade != fencing.GradeFeedsOff || p.on("3") || p.on("5") {
		t.Fatalf("%s, outlets 3 and 5 on: %t %t: %s", r.Outcome, p.on("3"), p.on("5"), r.Reason)
	}
	for _, outlet := range others(p, "3", "5") {
		if !p.on(outlet) {
			t.Errorf("outlet %s was switched off", outlet)
		}
	}
}
