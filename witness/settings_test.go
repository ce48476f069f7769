package witness_test

import (
	"testing"

	"quorate/witness"
	"quorate/witness/kv"
)

// TestPatroniSettingsAsPatroniReadsThem: Patroni takes "on", "yes" and 1 for true, and texts for numbers. A failsafe_mode or a
// pause that it knows of and the witnesses do not would release, or power off, a holder that goes on.
func TestPatroniSettingsAsPatroniReadsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]witness.PatroniSetting{
		`{"ttl":30,"loop_wait":10,"maximum_lag_on_failover":1048576,"pause":true,"failsafe_mode":true}`: {TTL: 30, LoopWait: 10, MaxLag: 1048576, Pause: true, Failsafe: true},
		`{"pause":"on","failsafe_mode":"yes","loop_wait":"20"}`:                                         {Pause: true, Failsafe: true, LoopWait: 20},
		`{"pause":1,"failsafe_mode":"True"}`:                                                            {Pause: true, Failsafe: true},
		`{"pause":"off","failsafe_mode":0,"ttl":null}`:                                                  {},
		`{"pause":"perhaps","failsafe_mode":[1],"ttl":1e30,"loop_wait":{}}`:                             {},
		`{"pause":true} trailing`:                                                                       {},
	} {
		s := witness.New()
		for _, cmd := range []witness.Command{
			witness.Configure{Config: witness.Config{
				Hosts:    []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}},
				Clusters: []witness.ClusterSpec{{Name: "pg", Kind: witness.KindPatroni, Fencing: witness.FencingNone, Members: []witness.MemberSpec{{Name: "pg1", Host: "h1"}}}},
			}},
			witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte("/service/pg/config"), Value: []byte(text)})},
		} {
			next, res, _ := s.Apply(witness.Entry{Index: s.Index + 1, Term: 1, Cmd: cmd})
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			s = next
		}
		if got := s.Cluster("pg").Settings; got != want {
			t.Errorf("%s is read as %+v, want %+v", text, got, want)
		}
	}
}
