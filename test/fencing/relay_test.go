//go:build integration

package fencing

import (
	"net"
	"sync"
	"testing"
)

// relay passes UDP packets on to a PDU, counts the Set requests of versions 1 and 2c, and can lose what answers them.
type relay struct {
	front *net.UDPConn
	done  sync.WaitGroup

	mu      sync.Mutex
	written int
	lose    int // so many answers to Sets are lost
	back    *net.UDPConn
	client  *net.UDPAddr
	losing  map[string]bool // request ids whose answers are lost
}

func startRelay(t *testing.T, p *pdu) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.port})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, back: back, losing: map[string]bool{}}
	r.done.Go(r.forth)
	r.done.Go(r.answers)
	t.Cleanup(func() {
		_ = front.Close()
		_ = back.Close()
		r.done.Wait()
	})
	return r
}

func (r *relay) address() string { return r.front.LocalAddr().String() }

func (r *relay) sets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written
}

func (r *relay) loseAnswers(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = n
}

func (r *relay) forth() {
	buf := make([]byte, 65536)
	for {
		n, from, err := r.front.ReadFromUDP(buf)
		if err != nil {
			return
		}
		kind, id := request(buf[:n])
		r.mu.Lock()
		r.client = from
		if kind == 0xa3 { // SetRequest-PDU
			r.written++
			if r.lose > 0 {
				r.lose--
				r.losing[id] = true
			}
		}
		r.mu.Unlock()
		_, _ = r.back.Write(buf[:n])
	}
}

func (r *relay) answers() {
	buf := make([]byte, 65536)
	for {
		n, err := r.back.Read(buf)
		if err != nil {
			return
		}
		_, id := request(buf[:n])
		r.mu.Lock()
		to, lost := r.client, r.losing[id]
		r.mu.Unlock()
		if to != nil && !lost {
			_, _ = r.front.WriteToUDP(buf[:n], to)
		}
	}
}

// request takes the PDU's tag and request id out of a message of version 1 or 2c: SEQUENCE { version, community, PDU { id, … } }.
func request(p []byte) (tag byte, id string) {
	next := func() (byte, []byte) { // a value, and p behind it
		if len(p) < 2 {
			return 0, nil
		}
		kind, size, head := p[0], int(p[1]), 2
		if size > 0x80 {
			octets := size - 0x80
			if len(p) < head+octets {
				return 0, nil
			}
			size = 0
			for _, b := range p[head : head+octets] {
				size = size<<8 | int(b)
			}
			head += octets
		}
		if len(p) < head+size {
			return 0, nil
		}
		value := p[head : head+size]
		p = p[head+size:]
		return kind, value
	}
	if _, message := next(); message == nil {
		return 0, ""
	} else {
		p = message
	}
	next() // version
	next() // community
	tag, pdu := next()
	p = pdu
	_, number := next()
	return tag, string(number)
}
