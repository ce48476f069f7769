package kv

import (
	"encoding/binary"
	"math/bits"
)

// The rolling digest mixes every change into 64 bits with the multiply-and-fold
// step of wyhash. It finds replicas that went apart; it is no defence against
// somebody who makes collisions on purpose.

const (
	mixA = 0xa0761d6478bd642f
	mixB = 0xe7037ed1a0b428db
)

type change uint64

const (
	opPut change = iota + 1
	opDelete
	opGrant
	opRevoke
	opKill
	opRevive
	opCompact
)

func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^mixA, v^mixB)
	return hi ^ lo ^ bits.RotateLeft64(h, 29) + v
}

func mixBytes(h uint64, b []byte) uint64 {
	h = mix(h, uint64(len(b)))
	for len(b) >= 8 {
		h = mix(h, binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	return mix(h, binary.LittleEndian.Uint64(tail[:]))
}

func digestEvent(h uint64, ev Event) uint64 {
	op := opPut
	if ev.Type == Delete {
		op = opDelete
	}
	h = mix(mix(h, uint64(op)), uint64(ev.KV.ModRevision))
	h = mixBytes(h, ev.KV.Key)
	if op == opDelete {
		return h
	}
	h = mixBytes(h, ev.KV.Value)
	return mix(mix(mix(h, uint64(ev.KV.CreateRevision)), uint64(ev.KV.Version)), uint64(ev.KV.Lease))
}

// digestLease is for all changes that are described by one or two numbers.
func digestLease(h uint64, op change, a, b int64) uint64 {
	return mix(mix(mix(h, uint64(op)), uint64(a)), uint64(b))
}
