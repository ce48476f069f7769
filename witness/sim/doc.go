// Package sim runs whole installations of Quorate in one goroutine: witnesses
// with their replicated log, database clusters under Patroni, hosts, BMCs,
// operators, and a network that loses, delays and cuts. Nothing in it reads a
// clock or starts a goroutine; every choice comes from one seed, so a run can
// be repeated bit for bit.
//
// The state machine is the real one: each committed entry goes through
// [quorate/witness.State.Apply], each decision comes from
// [quorate/witness.Decide]. What surrounds it is modelled at the level of its
// guarantees: see docs/simulator.md for what is modelled, how, and what not.
//
// After every step the simulator compares what the witnesses believe with what
// is really the case in the model: which hosts have power, and who really
// accepts writes. That is what makes its checks worth more than assertions
// inside the program.
package sim
