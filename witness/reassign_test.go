package witness_test

import (
	"testing"

	"quorate/witness"
)

const reassignStart = `config pg=pg1@h1,pg2@h2,pg3@h3
settings pg
lease 1
lease 2
lease 3
create /service/pg/leader pg1 lease=1
member pg pg1 role=master lease=1
member pg pg2 lease=2
member pg pg3 lease=3
expire 1
decide
finished h1 unknown unknown
wait 3s
decide
decide`

// TestReassignBehindBlastRadius: an action whose executor died is taken over,
// though another host of the cluster is off by now: the power-off was judged
// when it was planned.
func TestReassignBehindBlastRadius(t *testing.T) {
	w := newWorld(t)
	w.run(reassignStart)
	act := w.s.PendingActions()
	if len(act) != 1 || act[0].Executor != "w2" {
		t.Fatalf("want one action of w2: %+v", act)
	}
	w.run(`request confirm-off h3 reason="in for repair"
alive w1,w3
wait 200s`)
	if p := witness.Decide(w.view()); p == nil || p.Actions[0].Replaces != act[0].ID {
		t.Errorf("action %s waits for w2, which is dead, for ever: %+v", act[0].ID, p)
	}
}
