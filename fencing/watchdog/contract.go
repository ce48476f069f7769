package watchdog

import (
	"errors"
	"fmt"
	"time"
)

// Kind of the watchdog in the machine.
type Kind string

// A hardware watchdog resets the machine whatever its kernel does. A software watchdog (Linux softdog) is the kernel, and
// bites neither when the kernel hangs with interrupts off nor when the machine is paused and goes on later.
const (
	Hardware Kind = "hardware"
	Software Kind = "software"
)

// Contract is what a machine that fences itself promises:
//
//  1. It arms its watchdog with Timeout before it holds anything, and stops holding if it cannot.
//  2. It feeds the watchdog only within Feed of a renewal that the witnesses have acknowledged. The time counts from when the
//     renewal was sent, not from when the answer came, by a clock that goes on while the machine is suspended
//     (CLOCK_BOOTTIME).
//  3. It does not disarm the watchdog (no magic close) while it holds anything, and asks for nothing to be held again before
//     it has been reset or has released what it held.
//
// So at the latest Feed + Timeout after it has sent its last acknowledged renewal, it has been reset.
type Contract struct {
	Kind     Kind
	Timeout  time.Duration // of the watchdog, as read back from the driver: hardware rounds
	Feed     time.Duration // after a renewal's sending, for which the watchdog may still be fed
	Margin   time.Duration // for clocks that run at different rates, and for the reset itself; default: half of Timeout
	Nowayout bool          // the kernel cannot disarm the watchdog any more, even if the daemon crashes and its file is closed
}

// Limits. A watchdog below a second resets healthy machines; beyond ten minutes nobody waits.
const (
	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
	minMargin  = time.Second
	maxDrift   = 200 // parts per million at which two clocks may run apart (two crystals at 100 each)
)

// Validate reports every fault at once.
func (c Contract) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("watchdog: "+format, args...)) }
	if c.Kind != Hardware && c.Kind != Software {
		fault("kind: %q is neither %s nor %s", c.Kind, Hardware, Software)
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		fault("timeout: %v is not between %v and %v", c.Timeout, minTimeout, maxTimeout)
	}
	if c.Feed < 0 || c.Feed > maxTimeout {
		fault("feed: %v is not between 0 and %v", c.Feed, maxTimeout)
	}
	if least := c.leastMargin(); c.Margin != 0 && c.Margin < least {
		fault("margin: %v is less than the %v that clocks and the reset need", c.Margin, least)
	}
	return errors.Join(faults...)
}

// leastMargin: what clocks can run apart over the whole time, and a second for the reset.
func (c Contract) leastMargin() time.Duration {
	return minMargin + (c.Feed+c.Timeout)*maxDrift/1e6
}

// Silence is how long a machine must have been unheard of, counted from its last acknowledged renewal, before it must have
// been reset. With the default margin it is never less than twice the watchdog's time, as SBD's msgwait (sbd(8)).
func (c Contract) Silence() time.Duration {
	margin := c.Margin
	if margin == 0 {
		margin = max(c.Timeout/2, c.leastMargin())
	}
	return max(c.Feed+c.Timeout+margin, 2*c.Timeout)
}

// Silent is what is known of a machine that is said to have fenced itself. Its times are of one clock, the log's.
type Silent struct {
	Now          time.Duration
	Acknowledged time.Duration // the last renewal that any witness may have acknowledged
	Refusing     bool          // from Acknowledged on renewals are refused, by the log: no later one can be acknowledged
	Armed        bool          // the machine said at its last renewal that its watchdog is armed, with this contract
	Maintenance  bool          // a mode in which the machine does not arm the watchdog, or feeds it without witnesses
	Tried        bool          // every way to switch it off from outside was tried, and none has proven anything
}

// Proven reports whether the machine must have fenced itself; else why not, and how long is left where only time is lacking.
func (c Contract) Proven(s Silent) (bool, time.Duration, error) {
	if err := c.Validate(); err != nil {
		return false, 0, err
	}
	switch {
	case !s.Armed:
		return false, 0, errors.New("the machine never said that its watchdog is armed: its silence proves nothing")
	case s.Maintenance:
		return false, 0, errors.New("in maintenance the watchdog is not armed, or is fed without witnesses: silence proves nothing")
	case !s.Refusing:
		return false, 0, errors.New("its renewals are still accepted: another one may be under way")
	case !s.Tried:
		return false, 0, errors.New("self-fencing is the last resort: the other levels come first")
	case c.Kind == Software && !c.Nowayout:
		return false, 0, errors.New("a software watchdog that can be disarmed proves nothing: load softdog with nowayout=1")
	case s.Now < s.Acknowledged:
		return false, 0, errors.New("the clock is behind the last renewal: these times are of different clocks")
	}
	left := c.Silence() - (s.Now - s.Acknowledged)
	if left > 0 {
		return false, left, fmt.Errorf("%v of silence are lacking", left)
	}
	return true, 0, nil
}
