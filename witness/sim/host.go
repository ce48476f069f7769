package sim

import (
	"time"

	"quorate/witness"
)

// host is a machine with a BMC and one member of a cluster on it.
type host struct {
	w       *world
	name    string
	place   int
	cluster *cluster
	member  *member
	on      bool
	boots   int
	bmc     bmcMode
	feeds   []*feed // two, or none that can be switched
	vouched bool    // a person is on the way to confirm that it is off
}

// bmcMode is how a BMC behaves. Its readings are always true: a BMC whose
// readings lie defeats any system.
type bmcMode string

const (
	bmcWorks    bmcMode = "works"
	bmcSlow     bmcMode = "slow"     // does it long after the answer is due
	bmcDead     bmcMode = "dead"     // does not answer
	bmcIgnores  bmcMode = "ignores"  // accepts the order and does nothing
	bmcVanishes bmcMode = "vanishes" // no answer after the order, which may have worked
	bmcRefuses  bmcMode = "refuses"  // wrong password
)

func (w *world) hostNamed(name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

func (h *host) powerOff(why string) {
	if !h.on {
		return
	}
	h.w.trace("%s is off (%s)", h.name, why)
	h.on = false
	h.member.stop()
}

func (h *host) powerOn(why string) {
	if why == "button" {
		h.plugIn()
	}
	if h.on || !h.fed() {
		return
	}
	h.on = true
	h.boots++
	boot := h.boots
	h.w.trace("%s is on (%s)", h.name, why)
	h.w.after(h.w.between(3*time.Second, 12*time.Second), nil, func() {
		if h.on && h.boots == boot {
			h.member.start()
		}
	})
}

// hurry is somebody beside the machine who cannot see it off.
func (h *host) hurry() {
	if h.w.calm || !h.w.chance(4) {
		return
	}
	h.w.after(h.w.between(time.Second, 8*time.Second), nil, func() {
		if !h.vouched {
			h.powerOn("button")
		}
	})
}

// power switches a host by its BMC and reports, on witness n, what came of it.
func (h *host) power(n *node, on bool, report func(witness.Finished)) {
	w := h.w
	unknown := witness.Finished{Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: "no answer"}
	if w.opt.Break.BelieveTimeouts {
		unknown.Outcome, unknown.Grade = witness.Confirmed, witness.GradeObserved
	}
	mode := h.bmc
	if w.net.cutBMC[n.id][h.place] || !h.fed() { // it lives on the machine's own power
		mode = bmcDead
	}
	turn := func(d time.Duration) {
		w.after(d, nil, func() {
			if on {
				h.powerOn("BMC")
			} else {
				h.powerOff("BMC")
				h.hurry()
			}
		})
	}
	switch mode {
	case bmcDead:
		w.after(5*time.Second, &n.actor, func() { report(unknown) })
		return
	case bmcRefuses:
		w.after(time.Second, &n.actor, func() {
			report(witness.Finished{Outcome: witness.Refused, Grade: witness.GradeUnknown, Reason: "401"})
		})
		return
	case bmcVanishes:
		if w.chance(2) {
			turn(time.Second)
		}
		w.after(5*time.Second, &n.actor, func() { report(unknown) })
		return
	case bmcWorks:
		turn(w.between(500*time.Millisecond, 3*time.Second))
	case bmcSlow:
		turn(w.between(5*time.Second, 25*time.Second))
	}
	w.after(4*time.Second, &n.actor, func() {
		if h.on != on {
			report(unknown)
			return
		}
		proof := witness.Finished{Outcome: witness.Confirmed, Grade: witness.GradeObserved, Reason: "read back"}
		late := w.delay()
		if !w.calm && w.chance(6) {
			late = w.between(time.Second, 100*time.Second) // an old proof
		}
		w.after(late, &n.actor, func() { report(proof) })
	})
}
