package manifest

import "testing"

// TestUnquotedNo: YAML 1.1 took no for false; here it is the text that it is.
func TestUnquotedNo(t *testing.T) {
	cfg, faults := Load("x.yaml", []byte(`hosts: [{name: h1, addresses: [10.0.0.1]}]
clusters:
- name: c
  kind: corosync
  wait_for_all: no
  strict_lms: yes
  members: [{name: n1, host: h1, node: 1}]
`), nil)
	if len(faults) > 0 || cfg.Clusters[0].WaitForAll != "no" || cfg.Clusters[0].StrictLMS != "yes" || cfg.Clusters[0].Members[0].Node != 1 {
		t.Errorf("%+v, %v", cfg, faults)
	}
}
