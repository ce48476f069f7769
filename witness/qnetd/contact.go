package qnetd

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"quorate/witness"
)

// contact is when the newest report was sent that a leader acknowledged. The
// time counts from the sending: what the leader knows is as old as that.
type contact struct {
	limit time.Duration
	at    atomic.Pointer[time.Time]
}

func (c *contact) age() (time.Duration, bool) {
	at := c.at.Load()
	if at == nil {
		return 0, false
	}
	return time.Since(*at), true
}

// fresh says whether echoes may be answered. A process that was paused finds
// its contact old, since the monotonic clock went on.
func (c *contact) fresh() bool {
	age, ok := c.age()
	return ok && age < c.limit
}

// aliveReport is what an owner tells the leader.
type aliveReport struct {
	Boot    uint64        `json:"boot"`
	Contact time.Duration `json:"contact"` // how long it answers echoes after this report
}

// reportEvery is the time between two reports of a witness that is content.
func (s *Server) reportEvery() time.Duration { return min(time.Second, s.Contact/4) }

// report tells the leader again and again that this witness lives.
func (s *Server) report(ctx context.Context) error {
	raw, err := json.Marshal(aliveReport{Boot: s.boot, Contact: s.Contact})
	if err != nil {
		return err
	}
	for {
		wait := s.reportEvery()
		if !s.reportOnce(ctx, raw) {
			wait = 50 * time.Millisecond
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (s *Server) reportOnce(ctx context.Context, raw []byte) bool {
	leader, _ := s.Node.Leader()
	if leader == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, max(s.Contact/3, 300*time.Millisecond))
	defer cancel()
	go s.whileLeads(ctx, leader, cancel)
	sent := time.Now()
	if _, err := s.Node.Call(ctx, leader, AliveMethod, raw); err != nil {
		return false
	}
	s.contact.at.Store(&sent)
	return true
}

// whileLeads gives a report up as soon as another leader is known: the answer of
// one that is cut off may never come, and the contact grows old.
func (s *Server) whileLeads(ctx context.Context, leader string, giveUp context.CancelFunc) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now, _ := s.Node.Leader(); now != leader && now != "" {
			giveUp()
			return
		}
	}
}

// Alive answers [AliveMethod] on the leader. It notes when the report came, and
// then proves that this node leads: whoever leads later begins to count later.
func (s *Server) Alive(ctx context.Context, from string, req []byte) ([]byte, error) {
	var r aliveReport
	if err := json.Unmarshal(req, &r); err != nil {
		return nil, &witness.Error{Code: witness.CodeInvalid, Msg: "unreadable report of a witness: " + err.Error()}
	}
	if !s.Node.IsLeader() {
		return nil, witness.ErrNoQuorum
	}
	now := time.Now()
	if err := s.Node.VerifyLeader(ctx); err != nil {
		return nil, err
	}
	s.keeper.heard(from, r, now)
	return []byte("{}"), nil
}
