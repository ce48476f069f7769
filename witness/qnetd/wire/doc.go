// Package wire is the protocol that corosync-qdevice speaks to corosync-qnetd:
// every message and option of version 3.0.3, both ways, byte for byte.
//
// A message is a header of six bytes, type (u16) and length of the rest (u32),
// and a list of options, each number (u16), length (u16), value. Integers are
// big endian. The order of options is free, unknown ones are skipped, a repeated
// scalar counts as it came last, and repeated [OptNodeInfo] is a list.
//
// [Decode] is as strict as the real server: a value outside its set, a wrong
// length or an option that runs past the end is an error whatever message it is
// in. What it accepts, [Append] writes so that it decodes to the same value.
//
// The package has no opinion about sessions: a receiver learns from [CodeOf]
// which error code the real server would answer, and decides for itself whether
// to answer at all. A client that gets a server error exits for good.
package wire
