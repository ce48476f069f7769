// Package lab builds a laboratory of hosts on one Linux machine: every host is
// a network namespace, all hosts hang on one bridge that lives in a namespace
// of its own, and nothing of it is connected to the machine's own network.
//
// A lab can do to a host what happens to hosts: start and kill processes, pull
// its network cable, or cut it off from one other host. It needs root, iproute2
// and nftables (test/install.sh).
//
// Everything that a lab makes carries its random prefix. Cleanup removes it,
// and New first removes what labs of crashed runs have left behind.
package lab
