package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// checkTail looks at the last segment before raft-wal does. It refuses one that
// has lost synced entries, and ends what a crash has left half done: raft-wal
// v0.4.2 opens a segment that was full, but not yet followed by the next one, as
// its last one and then refuses every write to it, because it is sealed; the
// same if the write that should have filled it was torn.
func checkTail(dir string) (err error) {
	meta := &metadb.BoltMetaDB{}
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, meta.Close()) }()
	if len(state.Segments) == 0 {
		return nil
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	path := filepath.Join(dir, segment.FileName(*tail))
	w, err := segment.NewFiler(dir, walfs.New()).RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // raft-wal creates it: a crash between its list and the file
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	last := max(w.LastIndex(), tail.BaseIndex-1)
	if p, err := promisedBy(path); err != nil {
		return err
	} else if p > last {
		return fmt.Errorf("it ends with entry %d, but entries up to %d were written", last, p)
	}
	sealed, _, err := w.Sealed()
	if err != nil || !sealed {
		return err
	}
	if w.LastIndex() == 0 {
		return os.Remove(path) // nothing in it was ever acknowledged
	}
	writer, ok := w.(*segment.Writer)
	if !ok {
		return fmt.Errorf("segment writer of an unknown kind %T", w)
	}
	if tail.IndexStart, err = writeIndex(path, *tail, writer); err != nil {
		return err
	}
	tail.MaxIndex, tail.SealTime = last, time.Now()
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
		Codec: tail.Codec, CreateTime: time.Now(), SizeLimit: tail.SizeLimit,
	})
	state.NextSegmentID++
	return meta.CommitState(state)
}

func promisedBy(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return promised(f, 0, stat.Size())
}

// writeIndex appends the offsets of all committed entries to a segment, behind
// whatever a torn write has left there, and returns where they begin.
func writeIndex(path string, info types.SegmentInfo, w *segment.Writer) (uint64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var index []byte
	for i := info.BaseIndex; i <= w.LastIndex(); i++ {
		offset := uint32(0) // of a deleted entry, which nobody asks for
		if i >= info.MinIndex {
			if offset, err = w.OffsetForFrame(i); err != nil {
				return 0, err
			}
		}
		index = binary.LittleEndian.AppendUint32(index, offset)
	}
	start := stat.Size()
	if _, err := f.WriteAt(index, start); err != nil {
		return 0, err
	}
	return uint64(start), f.Sync()
}
