package main

import (
	"bytes"
	"testing"

	"quorate/witness/httpapi"
)

// TestQnetdStatus: the words, the order and the tabs of corosync-qnetd-tool
// -s -v and -l -v, version 3.0.3.
func TestQnetdStatus(t *testing.T) {
	body := httpapi.QnetdBody{
		Info: httpapi.QnetdInfo{Address: "[::]:5403", TLS: "required", CertRequired: true, Clients: 1}, Clients: 2, Active: 1, MaxSize: 32768,
		Clusters: []httpapi.QnetdCluster{{
			Cluster: "files", Name: "labcluster", Algorithm: "Fifty-Fifty split", KeepActive: true, TieBreaker: "Node with lowest node ID", Phase: "ack", Run: 812, Epoch: 7,
			Text: "n1,n2 has the vote of files with epoch 7",
			Nodes: []httpapi.QnetdNode{{
				Node: 1, Member: "n1", Address: "::ffff:10.91.0.1:34046", Heartbeat: 8000, Config: []uint32{1, 2}, Ring: "1.5d", Members: []uint32{1, 2},
				Heuristics: "Undefined", AtMembership: "Undefined", Regular: "Undefined", TLS: true, Verified: true, Vote: "ACK", LastVote: "ACK", Owner: "w1", Age: 61, Quorate: true,
				Silent: 18.41, OwnerSilent: 23.41,
			}},
		}},
	}
	const server = `QNetd address:			*:5403
TLS:				Required (client certificate required)
Connected clients:		2
Connected clusters:		1
Maximum send/receive size:	32768/32768 bytes
`
	const cluster = `Cluster "labcluster":
    Algorithm:		Fifty-Fifty split (KAP Tie-breaker)
    Tie-breaker:	Node with lowest node ID
    Node ID 1:
        Client address:		::ffff:10.91.0.1:34046
        HB interval:		8000ms
        Configured node list:	1, 2
        Ring ID:		1.5d
        Membership node list:	1, 2
        Heuristics:		Undefined (membership: Undefined, regular: Undefined)
        TLS active:		Yes (client certificate verified)
        Vote:			ACK (ACK)
`
	const decision = "    Decision:		n1,n2 has the vote of files with epoch 7\n"
	var out bytes.Buffer
	writeQnetd(&out, &body, false)
	if got := out.String(); got != server+cluster+decision {
		t.Errorf("got\n%s\nwant\n%s", got, server+cluster+decision)
	}
	out.Reset()
	writeQnetd(&out, &body, true)
	for _, line := range []string{"        Witness:		w1\n", "        Silence limits:		18.4s (client), 23.4s (witness)\n", "    Phase:		ack (run 812)\n", "    Epoch:		7\n"} {
		if !bytes.Contains(out.Bytes(), []byte(line)) {
			t.Errorf("--verbose lacks %q:\n%s", line, out.String())
		}
	}
}
