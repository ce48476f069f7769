package fencing

import "slices"

// Passive is a Device that switches nothing and proves nothing by itself: a person, or a watchdog in the machine. It says in
// an operation's reason what has to happen instead, and stands in the last level. On leaves it out.
type Passive interface {
	Device
	Passive()
}

// active is the level without its passive devices.
func (l Level) active() Level {
	return slices.DeleteFunc(slices.Clone(l), func(d Device) bool {
		_, passive := d.(Passive)
		return passive
	})
}
