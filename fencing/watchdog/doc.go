// Package watchdog holds the contract of a machine that fences itself: what it promises, and from which length of silence on
// it must have been reset. It is evidence by time only, the last resort, and graded as such. README.md tells operators about
// it.
//
// Nothing here keeps time. The silence is measured on the clock of the log, by whoever decides; a driver has no clock that a
// new leader would share.
package watchdog
