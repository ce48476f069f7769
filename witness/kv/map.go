package kv

import (
	"cmp"
	"iter"
)

// Map is a persistent ordered map. The zero value is the empty map. Set and Delete
// return a new map and leave the old one untouched; the two share all nodes but
// the O(log n) on the path to the key. A Map may be copied and read freely.
//
// It is a weight-balanced tree (Adams 1992, with the parameters <3, 2> proved by
// Hirai and Yamamoto 2011): no rebalancing decision depends on chance or on a hash
// of the keys, so no choice of keys can make it slow.
type Map[K cmp.Ordered, V any] struct {
	root *node[K, V]
}

type node[K cmp.Ordered, V any] struct {
	key         K
	val         V
	size        int
	left, right *node[K, V]
}

const (
	// A subtree is never more than balanceDelta times heavier than its sibling.
	balanceDelta = 3
	// balanceRatio chooses between a single and a double rotation.
	balanceRatio = 2
)

// Len returns the number of entries, in constant time.
func (m Map[K, V]) Len() int { return m.root.len() }

// Get returns the value of k and whether it is there.
func (m Map[K, V]) Get(k K) (V, bool) {
	n := m.root
	for n != nil {
		switch {
		case k < n.key:
			n = n.left
		case n.key < k:
			n = n.right
		default:
			return n.val, true
		}
	}
	var zero V
	return zero, false
}

// Set returns a map in which k has the value v.
func (m Map[K, V]) Set(k K, v V) Map[K, V] {
	return Map[K, V]{set(m.root, k, v)}
}

// Delete returns a map without k; it is m itself if k is not there.
func (m Map[K, V]) Delete(k K) Map[K, V] {
	if _, ok := m.Get(k); !ok {
		return m
	}
	return Map[K, V]{remove(m.root, k)}
}

// Rank returns how many keys are smaller than k.
func (m Map[K, V]) Rank(k K) int {
	r, n := 0, m.root
	for n != nil {
		if n.key < k {
			r += n.left.len() + 1
			n = n.right
		} else {
			n = n.left
		}
	}
	return r
}

// All iterates over all entries in the order of their keys.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.walk(nil, nil, yield) }
}

// From iterates in order over the entries whose key is lo or greater.
func (m Map[K, V]) From(lo K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.walk(&lo, nil, yield) }
}

// Range iterates in order over the entries with lo <= key < hi.
func (m Map[K, V]) Range(lo, hi K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.walk(&lo, &hi, yield) }
}

func (n *node[K, V]) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

// walk reports whether the caller wants more. A nil bound is no bound.
func (n *node[K, V]) walk(lo, hi *K, yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	above := lo == nil || *lo <= n.key
	below := hi == nil || n.key < *hi
	if above && !n.left.walk(lo, hi, yield) {
		return false
	}
	if above && below && !yield(n.key, n.val) {
		return false
	}
	return !below || n.right.walk(lo, hi, yield)
}

func join[K cmp.Ordered, V any](k K, v V, l, r *node[K, V]) *node[K, V] {
	return &node[K, V]{key: k, val: v, size: l.len() + r.len() + 1, left: l, right: r}
}

// balance builds a node whose subtrees may be out of balance by one entry.
func balance[K cmp.Ordered, V any](k K, v V, l, r *node[K, V]) *node[K, V] {
	ln, rn := l.len(), r.len()
	switch {
	case ln+rn <= 1:
		return join(k, v, l, r)
	case rn > balanceDelta*ln:
		if r.left.len() < balanceRatio*r.right.len() {
			return join(r.key, r.val, join(k, v, l, r.left), r.right)
		}
		m := r.left
		return join(m.key, m.val, join(k, v, l, m.left), join(r.key, r.val, m.right, r.right))
	case ln > balanceDelta*rn:
		if l.right.len() < balanceRatio*l.left.len() {
			return join(l.key, l.val, l.left, join(k, v, l.right, r))
		}
		m := l.right
		return join(m.key, m.val, join(l.key, l.val, l.left, m.left), join(k, v, m.right, r))
	}
	return join(k, v, l, r)
}

func set[K cmp.Ordered, V any](n *node[K, V], k K, v V) *node[K, V] {
	switch {
	case n == nil:
		return join(k, v, n, n)
	case k < n.key:
		return balance(n.key, n.val, set(n.left, k, v), n.right)
	case n.key < k:
		return balance(n.key, n.val, n.left, set(n.right, k, v))
	}
	return join(k, v, n.left, n.right)
}

// remove needs k to be there.
func remove[K cmp.Ordered, V any](n *node[K, V], k K) *node[K, V] {
	switch {
	case k < n.key:
		return balance(n.key, n.val, remove(n.left, k), n.right)
	case n.key < k:
		return balance(n.key, n.val, n.left, remove(n.right, k))
	case n.left == nil:
		return n.right
	case n.right == nil:
		return n.left
	case n.left.size > n.right.size:
		far := n.left
		for far.right != nil {
			far = far.right
		}
		return balance(far.key, far.val, remove(n.left, far.key), n.right)
	}
	near := n.right
	for near.left != nil {
		near = near.left
	}
	return balance(near.key, near.val, n.left, remove(n.right, near.key))
}
