// Package pdu fences a machine by switching off the outlets that feed it, over SNMP. README.md describes the settings.
//
// gosnmp carries the requests. Which object of which vendor is written and read, and what its numbers mean, is one table
// (models.go); what counts as off is decided here.
package pdu
