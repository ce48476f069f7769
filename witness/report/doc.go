// Package report turns what the witnesses recorded into something that people
// can read afterwards. It works on the state and its history alone.
package report
