// Package fencing tests the fence drivers against real peers: Debian's snmpd as a power distribution unit, and Debian's
// fence agents beside ours on the same devices. Run it with make integration RUN=fencing.
package fencing
