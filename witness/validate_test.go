package witness_test

import (
	"strings"
	"testing"

	"quorate/witness"
)

// TestKeysApart: the keys of one cluster must not lie within another's, or one
// leader key would belong to both and be guarded by neither.
func TestKeysApart(t *testing.T) {
	host := func(n, ip string) witness.Host {
		return witness.Host{Name: n, Addresses: []string{ip}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc"}}}
	}
	outer := witness.ClusterSpec{Name: "a", Kind: witness.KindPatroni, Members: []witness.MemberSpec{{Name: "pg1", Host: "h1"}}}
	for namespace, want := range map[string]bool{"/service/a/": false, "/service/a/x": false, "/service/b": true, "/other": true, "/x//y": false} {
		inner := witness.ClusterSpec{Name: "b", Kind: witness.KindPatroni, Namespace: namespace, Scope: "b", Members: []witness.MemberSpec{{Name: "pg2", Host: "h2"}}}
		for _, clusters := range [][]witness.ClusterSpec{{outer, inner}, {inner, outer}} {
			cfg := witness.Config{Devices: []witness.Device{{Name: "bmc", Driver: "redfish"}}, Hosts: []witness.Host{host("h1", "10.0.0.1"), host("h2", "10.0.0.2")}, Clusters: clusters}
			faults := cfg.Validate(nil)
			if ok := len(faults) == 0; ok != want || !ok && !strings.Contains(faults[0].Path, "scope") {
				t.Errorf("namespace %s beside /service/a/: faults %v, want accepted=%v", namespace, faults, want)
			}
		}
	}
	slash := outer
	slash.Scope = "a/b"
	if faults := (&witness.Config{Clusters: []witness.ClusterSpec{slash}}).Validate(nil); !strings.Contains(faults[0].Msg, "without slashes") {
		t.Errorf("a scope with a slash: %v", faults)
	}
}
