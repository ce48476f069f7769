// Package agent switches a machine off by running one of the fence agents (fence_*) that are installed on the witness, and
// reads back with further runs that it is off. README.md tells operators about it.
//
// The interface is that of ClusterLabs' FenceAgentAPI.md: key=value lines on standard input, and an exit code.
package agent
