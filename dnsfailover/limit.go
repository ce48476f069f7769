package dnsfailover

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// limiter bounds how many replies per second one network gets about one name over
// UDP, so that forged queries make no useful amplifier (response rate limiting,
// as in BIND, Knot and NSD). Clients with a valid cookie and TCP are exempt. Its
// memory is fixed: networks that share a slot take turns, in the clients' favour.
type limiter struct {
	rate  uint32 // replies per second; 0 turns the limiter off
	slots []atomic.Uint64
	slip  atomic.Uint32
}

const (
	limiterSlots = 1 << 16
	slipEvery    = 2 // every second limited reply is an empty one with TC: TCP still works
	maxTokens    = 1<<16 - 1
)

func newLimiter(rate uint32) *limiter {
	l := &limiter{rate: rate}
	if rate > 0 {
		l.slots = make([]atomic.Uint64, limiterSlots)
	}
	return l
}

// limitSeed makes the keys of this process its own.
var limitSeed = maphash.MakeSeed()

type verdict uint8

const (
	pass verdict = iota
	truncate
	drop
)

// judge takes one token for the key. now is in milliseconds and may wrap.
//
// A slot holds, from the top: 16 bits of the key, 32 bits of the time of its last
// refill, 16 bits of tokens.
func (l *limiter) judge(key uint64, now uint32) verdict {
	slot := &l.slots[key%limiterSlots]
	tag := key >> 48
	full := uint64(min(l.rate, maxTokens))
	for {
		old := slot.Load()
		tokens, last := old&maxTokens, uint32(old>>16)
		if old>>48 != tag || old == 0 {
			tokens, last = full, now
		} else if more := uint64(now-last) * uint64(l.rate) / 1000; more > 0 {
			tokens, last = min(tokens+more, full), last+uint32(more*1000/uint64(l.rate)) // the rest of a token is not lost
		}
		limited := tokens == 0
		if !limited {
			tokens--
		}
		if !slot.CompareAndSwap(old, tag<<48|uint64(last)<<16|tokens) {
			continue
		}
		switch {
		case !limited:
			return pass
		case l.slip.Add(1)%slipEvery == 0:
			return truncate
		}
		return drop
	}
}

// limitKey folds a client's network (/24, /56) and what is asked into one number.
func limitKey(client netip.Addr, what uint64) uint64 {
	h := what
	if client.Is4() {
		a := client.As4()
		h = mix(h ^ uint64(a[0])<<16 ^ uint64(a[1])<<8 ^ uint64(a[2]))
	} else {
		a := client.As16()
		for i := range 7 {
			h = h<<8 | h>>56
			h ^= uint64(a[i])
		}
		h = mix(h)
	}
	return h
}

// mix is the finalizer of MurmurHash3: every bit of x moves half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
