package redfish

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	gofishsystem "github.com/stmcginnis/gofish/redfish"

	"quorate/fencing"
)

// action returns the resource whose reset action switches the machine, and the target of that action, having made sure
// that kind is not excluded by what the BMC lists. Where it lists nothing, the command is tried and the state decides.
func (d *Device) action(kind gofishsystem.ResetType) (resource, target string, err error) {
	target, err = d.usable(d.uri, "ComputerSystem.Reset", d.last.resetAction, kind)
	if err == nil || d.config.Chassis == "" || !errors.Is(err, fencing.ErrPermanent) {
		return d.uri, target, err
	}
	target, chassisErr := d.chassisAction(kind)
	if chassisErr != nil {
		return "", "", fmt.Errorf("the system itself offers no %s, and its chassis cannot be used: %w", kind, chassisErr)
	}
	return d.config.Chassis, target, nil
}

// usable checks one action.
func (d *Device) usable(resource, name string, action resetAction, kind gofishsystem.ResetType) (string, error) {
	if action.target == "" {
		return "", fmt.Errorf("%w: %s offers no action %s, so this BMC cannot switch it", fencing.ErrPermanent, resource, name)
	}
	target, err := localPath(d.origin, action.target)
	if err != nil {
		return "", fmt.Errorf("%w: the target of %s: %w", fencing.ErrPermanent, name, err)
	}
	allowed := action.allowed
	if action.actionInfo != "" && !slices.Contains(allowed, string(kind)) {
		allowed = append(slices.Clone(allowed), d.actionInfo(action.actionInfo, "ResetType")...)
	}
	if len(allowed) > 0 && !slices.Contains(allowed, string(kind)) {
		return "", fmt.Errorf("%w: the BMC does not offer %s, only %s: fence this host by another device",
			fencing.ErrPermanent, kind, strings.Join(allowed, ", "))
	}
	return target, nil
}

// chassisAction is the reset action of the configured chassis. A chassis that holds other systems too is refused: it would
// take them down.
func (d *Device) chassisAction(kind gofishsystem.ResetType) (string, error) {
	r, err := d.get(d.config.Chassis)
	if err != nil {
		return "", err
	}
	if r.status != http.StatusOK {
		return "", d.failure("reading "+d.config.Chassis, r)
	}
	o, err := parseObject(r.body)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", errOdd, d.config.Chassis, err)
	}
	if kind := o.text("@odata.type"); !strings.HasPrefix(kind, "#Chassis.") {
		return "", fmt.Errorf("%w: %s is no chassis", fencing.ErrPermanent, d.config.Chassis)
	}
	var systems []string
	for _, system := range o.object("Links").objects("ComputerSystems") {
		path, err := localPath(d.origin, system.text("@odata.id"))
		if err != nil {
			return "", fmt.Errorf("%w: a system of %s: %w", fencing.ErrPermanent, d.config.Chassis, err)
		}
		systems = append(systems, strings.TrimSuffix(path, "/"))
	}
	if len(systems) != 1 || systems[0] != strings.TrimSuffix(d.uri, "/") {
		return "", fmt.Errorf("%w: %s must hold this system and nothing else, but holds %q", fencing.ErrPermanent, d.config.Chassis, systems)
	}
	return d.usable(d.config.Chassis, "Chassis.Reset", o.resetAction("#Chassis.Reset"), kind)
}

// actionInfo returns the values that the ActionInfo resource lists for a parameter; none if it cannot be had.
func (d *Device) actionInfo(link, parameter string) []string {
	path, err := localPath(d.origin, link)
	if err != nil {
		return nil
	}
	r, err := d.get(path)
	if err != nil || r.status != http.StatusOK {
		return nil
	}
	values, err := parseActionInfo(r.body, parameter)
	if err != nil {
		return nil
	}
	return values
}
