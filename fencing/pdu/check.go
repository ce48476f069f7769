package pdu

import (
	"context"
	"fmt"

	"quorate/fencing"
)

// Check identifies the PDU and reads every outlet. Whether the user or community may write shows only when it does.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	r, err := d.Read(ctx)
	ready.Reading = r
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	for _, p := range r.Parts {
		if p.State != fencing.PowerOn && p.State != fencing.PowerOff {
			warn("%s is %s: it may be locked, in error, or waiting for a delayed command", p.Name, p.Raw)
		}
	}
	if d.config.Version != "3" {
		warn("SNMP version %s sends the write community in clear text: whoever is on the path can switch every outlet of %s and fake what it says; use version 3",
			d.config.Version, d.config.Address)
	}
	if d.config.SysName == "" {
		warn("the PDU is not pinned: set sysname, so that an exchanged address cannot switch another one")
	}
	return ready, nil
}
