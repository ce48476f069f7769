// Package snmppdu is a power distribution unit for tests: Debian's snmpd (net-snmp), an SNMP agent that is not ours, with a
// pass_persist handler that holds the outlets. What the outlets really do is in a file, to be read independently of SNMP.
//
// Its tables are written from the vendors' MIBs and from foreign fence agents, and share nothing with fencing/pdu.
package snmppdu
