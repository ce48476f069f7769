package kv_test

import (
	"fmt"
	"testing"

	"quorate/witness/kv"
)

// BenchmarkPut overwrites keys in a store of 1000 keys with a history of 10,000
// revisions, the usual size of a witness.
func BenchmarkPut(b *testing.B) {
	s := kv.New()
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "/service/cluster%03d/members/pg%d", i/4, i%4)
	}
	value := make([]byte, 200)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s, _, _, _ = s.Txn(kv.PutTxn(kv.PutRequest{Key: keys[i%len(keys)], Value: value}))
		if rev := s.Revision(); rev%1000 == 0 && rev > 11_000 {
			s, _ = s.Compact(rev - 10_000)
		}
	}
}
