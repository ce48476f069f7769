package sim

import (
	"fmt"
	"time"
)

// Summary adds reports up.
type Summary struct {
	Schedules, Steps, Entries, Elections, Grants, Fences, ByFeeds, Orders, Reboots, Held, Marks, LateGiveUps int
	Time                                                                                                     time.Duration
	Failed                                                                                                   []uint64 // seeds
}

// Add takes one report into the sum.
func (s *Summary) Add(r Report) {
	s.Schedules++
	s.Steps += r.Steps
	s.Entries += r.Entries
	s.Elections += r.Elections
	s.Grants += r.Grants
	s.Fences += r.Fences
	s.ByFeeds += r.ByFeeds
	s.Orders += r.Orders
	s.Reboots += r.Reboots
	s.Held += r.Held
	s.Marks += r.Marks
	s.LateGiveUps += r.LateGiveUps
	s.Time += r.Time
	if len(r.Violations) > 0 {
		s.Failed = append(s.Failed, r.Seed)
	}
}

// String is the summary in one line.
func (s Summary) String() string {
	return fmt.Sprintf("%d schedules, %d steps, %.0f h simulated: %d entries, %d elections, %d grants, %d proven power-offs (%d by feeds), %d power actions on order, %d reboots, %d holds, %d entries with lease marks, %d late give-ups, %d schedules with violations",
		s.Schedules, s.Steps, s.Time.Hours(), s.Entries, s.Elections, s.Grants, s.Fences, s.ByFeeds, s.Orders, s.Reboots, s.Held, s.Marks, s.LateGiveUps, len(s.Failed))
}
