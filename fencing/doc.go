// Package fencing powers a host off and proves that it is off.
//
// A host has levels, a level has devices (one power path each: a BMC, an outlet). Levels are tried in order; inside a
// level all devices are switched at the same time and every one of them must be read Off. Only what was read back
// counts: a return code never proves anything, and silence is Unknown, never success.
//
// A device names the fault that no retry can cure with ErrPermanent; everything else is tried again until the deadline.
// The package starts nothing on its own, keeps no state between calls, and imports no other package of this module.
package fencing
