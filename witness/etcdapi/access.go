package etcdapi

import (
	"cmp"
	"slices"
	"time"

	"quorate/witness/kv"
)

// Access says who may do what. It is the same on all nodes of a cluster, or a client
// would be refused by some of them.
type Access struct {
	// Secrets sign tokens: the first signs, all of them verify, so that a secret can
	// be changed without throwing anybody out.
	Secrets [][]byte
	// TokenTTL is how long a token is good for; default 1 h. Clients fetch a new one
	// by themselves.
	TokenTTL time.Duration
	Users    map[string]User
}

// User is a client that is known by its password, or by a certificate whose common
// name is the user's name.
type User struct {
	// PasswordHash is of bcrypt. Without one only the certificate opens the door.
	PasswordHash []byte
	// Admin may do everything, maintenance included.
	Admin bool
	Rules []Rule
}

// Rule opens the keys that begin with Prefix; the empty prefix means all keys.
type Rule struct {
	Prefix      string
	Read, Write bool
}

// account is a User in the form that checks need.
type account struct {
	name        string
	admin       bool
	hash        []byte
	read, write spans
}

func newAccount(name string, u User) *account {
	a := &account{name: name, admin: u.Admin, hash: u.PasswordHash}
	for _, r := range u.Rules {
		s := span{lo: r.Prefix, hi: kv.PrefixEnd(r.Prefix)}
		if r.Read || u.Admin {
			a.read = append(a.read, s)
		}
		if r.Write || u.Admin {
			a.write = append(a.write, s)
		}
	}
	if u.Admin {
		everything := span{lo: "", hi: noEnd}
		a.read, a.write = spans{everything}, spans{everything}
	}
	a.read, a.write = a.read.merged(), a.write.merged()
	return a
}

// noEnd as the end of a span means that it has none; as RangeEnd of a request too.
const noEnd = "\x00"

// span is the keys from lo up to hi, which is not part of it.
type span struct{ lo, hi string }

func (s span) contains(o span) bool {
	return s.lo <= o.lo && (s.hi == noEnd || o.hi != noEnd && o.hi <= s.hi)
}

// spans are sorted and do not touch each other once merged: a range is permitted if
// it lies in one of them.
type spans []span

func (list spans) merged() spans {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	var out spans
	for _, s := range list {
		if n := len(out); n > 0 && (out[n-1].hi == noEnd || s.lo <= out[n-1].hi) {
			if out[n-1].hi != noEnd && (s.hi == noEnd || s.hi > out[n-1].hi) {
				out[n-1].hi = s.hi
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// cover says whether a key or range of a request lies in the spans.
func (list spans) cover(key, rangeEnd []byte) bool {
	want := span{string(key), string(rangeEnd)}
	if want.hi == "" || want.hi != noEnd && want.hi <= want.lo {
		want.hi = want.lo + "\x00" // one key; an empty range must not be for free
	}
	return slices.ContainsFunc(list, func(s span) bool { return s.contains(want) })
}
