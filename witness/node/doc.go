// Package node keeps one witness in agreement with the others: it runs
// hashicorp/raft around the pure state machine of package witness and owns all
// that the agreement needs: the log on disk, the peer port, the cluster clock
// and the deadlines of leases.
//
// A [Node] is opened once and runs once:
//
//	n, err := node.Open(node.Options{Name: "a", DataDir: dir, …})
//	go n.Run(ctx)
//	res, err := n.Propose(ctx, witness.Touch{})
//
// Three rules carry the package; docs/consensus.md has the reasons.
//
//   - What is read is a published, immutable state ([Node.State]); nobody waits
//     for the state machine, and the state machine waits for nobody.
//   - A leader proves its leadership anew before every answer that must not be
//     stale ([Node.VerifyLeader]): a majority of voters is asked, after the
//     call, whether their Raft term has moved on.
//   - A lease may live too long, never too short. Only the leader has deadlines;
//     it takes no deadline from its predecessor, and a pause of its own process
//     counts as a new election.
package node
