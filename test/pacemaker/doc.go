// Package pacemaker is the laboratory of the quorum device: Debian's corosync,
// corosync-qdevice and Pacemaker, unmodified, each node on a host of its own,
// over stock corosync-qnetd or over three witnesses, and what can happen to
// them. It is meant to be run as root: see docs/testing.md.
package pacemaker
