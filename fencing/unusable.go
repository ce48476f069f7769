package fencing

import (
	"context"
	"fmt"
)

// Unusable stands in for a device that could not be opened, so that a fault in one device's settings fails its own
// level and not the whole host: other levels are still tried. Every call returns err with ErrPermanent.
func Unusable(name string, err error) Device {
	return unusable{name: name, err: fmt.Errorf("%w: %w", ErrPermanent, err)}
}

type unusable struct {
	name string
	err  error
}

var _ Device = unusable{}

func (u unusable) Name() string                          { return u.name }
func (u unusable) Read(context.Context) (Reading, error) { return Reading{}, u.err }
func (u unusable) Off(context.Context) error             { return u.err }
func (u unusable) On(context.Context) error              { return u.err }
func (u unusable) Close(context.Context) error           { return nil }

func (u unusable) Check(context.Context) (Readiness, error) {
	return Readiness{Faults: []string{u.err.Error()}}, u.err
}
