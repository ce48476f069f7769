package raftlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// BenchmarkAppend compares the log with the one of earlier versions.
// QUORATE_BENCH_DIR names a directory on the disk to measure.
func BenchmarkAppend(b *testing.B) {
	small := segmentSize
	segmentSize = 16 << 20
	b.Cleanup(func() { segmentSize = small })
	for _, batch := range []int{1, 8, 64} {
		for _, kind := range []string{"wal", "bolt"} {
			b.Run(fmt.Sprintf("%s/%d", kind, batch), func(b *testing.B) {
				dir, err := os.MkdirTemp(os.Getenv("QUORATE_BENCH_DIR"), "bench")
				if err != nil {
					b.Fatal(err)
				}
				defer os.RemoveAll(dir)
				var s raft.LogStore
				if kind == "wal" {
					w, err := Open(dir, hclog.NewNullLogger())
					if err != nil {
						b.Fatal(err)
					}
					defer w.Close()
					s = w
				} else {
					w, err := openBolt(filepath.Join(dir, legacyFile))
					if err != nil {
						b.Fatal(err)
					}
					defer w.Close()
					s = w
				}
				c := entries(1, 600)
				last := uint64(0)
				for b.Loop() {
					ls := make([]*raft.Log, batch)
					for i := range ls {
						last++
						ls[i] = c(last)
					}
					if err := s.StoreLogs(ls); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
