package qnetd

import (
	"container/list"
	"net/netip"
	"sync"

	"quorate/witness"
)

// strangers are the connections that have no session yet. When there are too
// many, the oldest of the host that has the most makes room: a host that opens
// thousands and says nothing is in its own way only.
type strangers struct {
	limit, ofHost int

	mu    sync.Mutex
	n     int
	hosts map[netip.Addr]*list.List // of *session, oldest first
}

func (s *strangers) defaults() {
	if s.limit == 0 {
		s.limit = 4096
	}
	if s.ofHost == 0 {
		s.ofHost = 1024
	}
	s.hosts = map[netip.Addr]*list.List{}
}

func (s *strangers) add(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.hosts[ses.remote]
	if l == nil {
		l = list.New()
		s.hosts[ses.remote] = l
	}
	ses.place = l.PushBack(ses)
	s.n++
	full := l.Len() > s.ofHost
	if !full && s.n > s.limit {
		full = true
		for _, other := range s.hosts {
			if other.Len() > l.Len() {
				l = other
			}
		}
	}
	if full {
		old := l.Front().Value.(*session)
		s.take(old)
		go old.drop(witness.GoneDropped, "too many connections without a session")
	}
}

func (s *strangers) remove(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(ses)
}

// take needs the lock.
func (s *strangers) take(ses *session) {
	if ses.place == nil {
		return
	}
	l := s.hosts[ses.remote]
	l.Remove(ses.place)
	ses.place = nil
	s.n--
	if l.Len() == 0 {
		delete(s.hosts, ses.remote)
	}
}

func (s *strangers) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
