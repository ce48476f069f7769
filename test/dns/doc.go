// Package dns measures and tests the DNS server beside others: Debian's NSD, Knot
// and gdnsd with the same zone, on one core, in one run.
package dns
