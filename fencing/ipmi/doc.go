// Package ipmi switches a machine off through its BMC by IPMI 2.0 over LAN (RMCP+), and reads back that it is off. README.md
// tells operators about it.
//
// github.com/bougou/go-ipmi builds and parses the messages. What it takes for granted is checked here, in guard: v0.9.1
// compares no authentication code of an answer, accepts answers outside the session, and panics on malformed ones.
package ipmi
