package snmppdu

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// Fault is a way in which the PDU misbehaves.
type Fault string

// The faults. Those that name an outlet concern Settings.Bad only.
const (
	SlowSet    Fault = "slow-set"    // carries a Set out at once and answers it after Settings.Slow
	Lie        Fault = "lie"         // answers a Set and does nothing
	LieBad     Fault = "lie-bad"     // the same for one outlet
	Pending    Fault = "pending"     // takes a Set and stays on the way for ever
	LockedBad  Fault = "locked-bad"  // refuses to switch one outlet: not-writable
	LockedWord Fault = "locked-word" // takes a Set for one outlet and shows the word for locked ever after
	Busy       Fault = "busy"        // refuses every Set for now: inconsistentValue
	Waiting    Fault = "waiting"     // outlets show a pending command for ever, although they switch
	OddWord    Fault = "odd-word"    // after a Set the status is a number that the MIB does not have
	Vanish     Fault = "vanish"      // after a Set one outlet is no longer in the table
)

// Settings are what a test changes while the PDU runs.
type Settings struct {
	Delay  time.Duration `json:"delay"` // of a switch
	Slow   time.Duration `json:"slow"`
	Bad    string        `json:"bad"` // an outlet
	Faults []Fault       `json:"faults"`
}

// Outlet is what one outlet really does.
type Outlet struct {
	On   bool      `json:"on"`
	Want bool      `json:"want"`
	Due  time.Time `json:"due"` // when Want comes true; zero: it has
}

// Set is one write, as it arrived.
type Set struct {
	OID     string    `json:"oid"`
	Outlet  string    `json:"outlet"`
	Value   string    `json:"value"`
	At      time.Time `json:"at"`
	Refused bool      `json:"refused,omitempty"`
}

// State is all that the PDU knows. It is in a file so that it outlives a restart, and can be read without SNMP.
type State struct {
	Outlets map[string]*Outlet `json:"outlets"`
	Sets    []Set              `json:"sets"`
}

// settle lets what is due happen.
func (s *State) settle(now time.Time) {
	for _, o := range s.Outlets {
		if !o.Due.IsZero() && !now.Before(o.Due) {
			o.On, o.Due = o.Want, time.Time{}
		}
	}
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON replaces a file as a whole: a reader sees the old or the new one.
func writeJSON(path string, from any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
