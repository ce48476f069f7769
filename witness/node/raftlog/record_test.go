package raftlog

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"
)

// Records are found wherever they lie, also across the pieces that are read,
// and only if they are intact.
func TestPromised(t *testing.T) {
	l, err := seal(&raft.Log{Index: 9, Data: bytes.Repeat([]byte("x"), 500)}, 7)
	if err != nil {
		t.Fatal(err)
	}
	const size = 200 << 10
	for _, at := range []int{0, 1, 64<<10 - 600, 64<<10 - 3, 64<<10 - 2, 64<<10 - 1, 64 << 10, 100_000, size - len(l.Data)} {
		file := make([]byte, size)
		copy(file[at:], l.Data)
		if got, err := promised(bytes.NewReader(file), 0, size); err != nil || got != 7 {
			t.Errorf("at %d: %d, %v", at, got, err)
		}
		file[at+len(l.Data)/2] ^= 1
		if got, err := promised(bytes.NewReader(file), 0, size); err != nil || got != 0 {
			t.Errorf("damaged, at %d: %d, %v", at, got, err)
		}
	}
	file := make([]byte, size)
	copy(file[size-len(l.Data)+1:], l.Data) // cut short
	if got, err := promised(bytes.NewReader(file), 0, size); err != nil || got != 0 {
		t.Errorf("cut short: %d, %v", got, err)
	}
}

// FuzzRecord: whatever is on the disk, reading it does not panic, and what is
// accepted is what was written.
func FuzzRecord(f *testing.F) {
	l, err := seal(&raft.Log{Index: 3, Term: 2, Data: []byte("data"), Extensions: []byte("more")}, 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.Data)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got raft.Log
		if err := unseal(&raft.Log{Index: 3, Data: raw}, &got); err == nil && got.Index != 3 {
			t.Errorf("entry %d was accepted as entry 3", got.Index)
		}
		if _, err := promised(bytes.NewReader(raw), 0, int64(len(raw))); err != nil {
			t.Error(err)
		}
	})
}
