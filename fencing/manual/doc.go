// Package manual is a device that only a named person can confirm: it switches nothing and reads nothing, but says where the
// machine is and what to do. README.md tells operators about it.
package manual
