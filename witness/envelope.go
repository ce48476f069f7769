package witness

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// envelope is the log form of a command.
type envelope struct {
	Kind  string          `json:"k"`
	Stamp *Stamp          `json:"s,omitempty"`
	Cmd   json.RawMessage `json:"c"`
}

// What EncodeCommand writes around kind, stamp and command.
const (
	beforeKind  = `{"k":"`
	beforeStamp = `","s":`
	beforeCmd   = `,"c":`
	afterCmd    = `}`
)

// EncodeCommand returns the log form of a command: JSON with a fixed order of
// fields, so that the log can be read without this program.
func EncodeCommand(c Command, s Stamp) ([]byte, error) {
	cmd, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.kind(), err)
	}
	stamp, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.kind(), err)
	}
	// As json.Marshal of an envelope, which would read and copy cmd once more.
	raw := make([]byte, 0, len(cmd)+len(stamp)+64)
	raw = append(append(raw, beforeKind...), c.kind()...)
	raw = append(append(raw, beforeStamp...), stamp...)
	raw = append(append(raw, beforeCmd...), cmd...)
	return append(raw, afterCmd...), nil
}

// DecodeCommand reads what [EncodeCommand] wrote. It returns an error, and
// never panics, on any other bytes.
func DecodeCommand(raw []byte) (Command, Stamp, error) {
	if c, s, ok := decodePlain(raw); ok {
		return c, s, nil
	}
	return decodeAny(raw)
}

// decodePlain reads exactly what EncodeCommand writes, and the command in it
// once; decodeAny reads it twice and copies it. What decodePlain accepts,
// decodeAny reads in the same way: the command is one JSON value that reaches to
// the end, so there is nothing else to read.
func decodePlain(raw []byte) (Command, Stamp, bool) {
	rest, ok := bytes.CutPrefix(raw, []byte(beforeKind))
	if !ok {
		return nil, Stamp{}, false
	}
	kind, rest, ok := bytes.Cut(rest, []byte(beforeStamp))
	if !ok {
		return nil, Stamp{}, false
	}
	dec, ok := kinds[string(kind)]
	if !ok {
		return nil, Stamp{}, false
	}
	end := bytes.IndexByte(rest, '}') + 1 // a stamp has two numbers and no braces
	var s Stamp
	if end == 0 || json.Unmarshal(rest[:end], &s) != nil {
		return nil, Stamp{}, false
	}
	cmd, ok := bytes.CutPrefix(rest[end:], []byte(beforeCmd))
	if !ok {
		return nil, Stamp{}, false
	}
	if cmd, ok = bytes.CutSuffix(cmd, []byte(afterCmd)); !ok {
		return nil, Stamp{}, false
	}
	c, err := dec(cmd)
	return c, s, err == nil
}

func decodeAny(raw []byte) (Command, Stamp, error) {
	var env envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		return nil, Stamp{}, fmt.Errorf("decode log entry: %w", err)
	}
	dec, ok := kinds[env.Kind]
	if !ok {
		return nil, Stamp{}, fmt.Errorf("decode log entry: unknown kind %q: this witness is older than the one that wrote it; upgrade it", env.Kind)
	}
	c, err := dec(env.Cmd)
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("decode log entry %s: %w", env.Kind, err)
	}
	var s Stamp
	if env.Stamp != nil {
		s = *env.Stamp
	}
	return c, s, nil
}
