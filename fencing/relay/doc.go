// Package relay switches a machine's outlets off through a relay or power strip that speaks HTTP, and reads back that they
// are off. The devices are data: protocols.go describes what to send and where the state stands in the answer. README.md
// tells operators about it.
package relay
