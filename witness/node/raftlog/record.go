package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// A record is one entry as it is given to raft-wal, as the data of an entry with
// the same index. (A codec of our own would be the place for it, but raft-wal
// v0.4.2 cannot open a log that was written with one.)
//
//	magic[4] crc[4] size[4] synced[8] entry…
//
// in little endian. The checksum is CRC-32C of everything behind it; size is
// that of the whole record; entry is raft-wal's own encoding. Every entry up to
// synced was on the disk before this one was written: so if a record is found
// behind the end of a log that does not reach synced, acknowledged entries are
// missing.
const (
	magic      = "\xc3QL1"
	headerSize = 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	binaryV1   wal.BinaryCodec
	errRecord  = errors.New("its checksum is wrong")
)

// seal makes l a record.
func seal(l *raft.Log, synced uint64) (*raft.Log, error) {
	var b bytes.Buffer
	b.Grow(headerSize + len(l.Data) + len(l.Extensions) + 64)
	b.Write(make([]byte, headerSize))
	if err := binaryV1.Encode(l, &b); err != nil {
		return nil, err
	}
	rec := b.Bytes()
	copy(rec, magic)
	binary.LittleEndian.PutUint32(rec[8:], uint32(len(rec)))
	binary.LittleEndian.PutUint64(rec[12:], synced)
	binary.LittleEndian.PutUint32(rec[4:], crc32.Checksum(rec[8:], castagnoli))
	return &raft.Log{Index: l.Index, Data: rec}, nil
}

// unseal reads what seal has made.
func unseal(sealed, l *raft.Log) error {
	rec, _, ok := parse(sealed.Data)
	if !ok || len(rec) != len(sealed.Data) {
		return errRecord
	}
	if err := binaryV1.Decode(rec[headerSize:], l); err != nil {
		return err
	}
	if l.Index != sealed.Index {
		return errRecord
	}
	return nil
}

// parse returns the record at the beginning of b, if there is an intact one.
func parse(b []byte) (rec []byte, synced uint64, ok bool) {
	if len(b) < headerSize || string(b[:4]) != magic {
		return nil, 0, false
	}
	size := binary.LittleEndian.Uint32(b[8:])
	if size < headerSize || uint64(size) > uint64(len(b)) {
		return nil, 0, false
	}
	rec = b[:size]
	if crc32.Checksum(rec[8:], castagnoli) != binary.LittleEndian.Uint32(rec[4:]) {
		return nil, 0, false
	}
	return rec, binary.LittleEndian.Uint64(rec[12:]), true
}

// promised returns the highest synced index that any intact record of a segment
// names, from an offset on. It reads a little at a time: most of a segment is
// empty, and a witness is to stay small.
func promised(r io.ReaderAt, from, size int64) (uint64, error) {
	var highest uint64
	buf := make([]byte, 64<<10)
	for from < size {
		n, err := r.ReadAt(buf, from)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		i := bytes.Index(buf[:n], []byte(magic))
		if i < 0 {
			from += int64(max(n-len(magic)+1, 1)) // it may lie across the end
			continue
		}
		from += int64(i)
		synced, length, err := recordAt(r, from, size)
		if err != nil {
			return 0, err
		}
		highest = max(highest, synced)
		from += max(length, 1)
	}
	return highest, nil
}

// recordAt reads the record at an offset; its length is 0 if it is not intact.
func recordAt(r io.ReaderAt, at, size int64) (synced uint64, length int64, err error) {
	head := make([]byte, headerSize)
	if at+headerSize > size {
		return 0, 0, nil
	}
	if _, err := r.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	length = int64(binary.LittleEndian.Uint32(head[8:]))
	if length < headerSize || at+length > size {
		return 0, 0, nil
	}
	whole := make([]byte, length)
	if _, err := r.ReadAt(whole, at); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if _, synced, ok := parse(whole); ok {
		return synced, length, nil
	}
	return 0, 0, nil
}
