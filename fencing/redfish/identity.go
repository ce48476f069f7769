package redfish

import (
	"fmt"
	"net/http"
	"strings"

	"quorate/fencing"
)

// Limits on the search for a system.
const (
	maxPages   = 8
	maxSystems = 64
)

// claim is one attribute that the settings demand of the system.
type claim struct{ setting, want, got string }

func (d *Device) claims(sys system) []claim {
	var claims []claim
	for _, c := range []claim{
		{"uuid", strings.ToLower(d.config.UUID), strings.ToLower(sys.uuid)},
		{"serial", d.config.Serial, sys.serial},
		{"hostname", d.config.HostName, sys.hostName},
	} {
		if c.want != "" {
			claims = append(claims, c)
		}
	}
	return claims
}

// contradicts returns a permanent error if the system is somebody else. Attributes that are empty contradict nothing:
// some BMCs blank them while the machine is off.
func (d *Device) contradicts(sys system) error {
	for _, c := range d.claims(sys) {
		if c.got != "" && c.got != c.want {
			return fmt.Errorf("%w: wrong machine: %s has %s %q, but %q is configured; nothing was sent",
				fencing.ErrPermanent, d.uri, c.setting, c.got, c.want)
		}
	}
	return nil
}

// verify demands that every configured attribute matches. It guards every command.
func (d *Device) verify(sys system) error {
	for _, c := range d.claims(sys) {
		if c.got != c.want {
			return fmt.Errorf("%w: the machine is not proven to be the right one: %s has %s %q, but %q is configured; nothing was sent",
				fencing.ErrPermanent, d.uri, c.setting, c.got, c.want)
		}
	}
	return nil
}

// find returns the path of the configured system.
func (d *Device) find() (string, error) {
	if d.config.System != "" {
		return d.config.System, nil
	}
	members, err := d.members()
	if err != nil {
		return "", err
	}
	if len(d.claims(system{})) == 0 {
		if len(members) != 1 {
			return "", fmt.Errorf("%w: the BMC has %d systems (%s): say which one by system, uuid, serial or hostname",
				fencing.ErrPermanent, len(members), strings.Join(members, ", "))
		}
		return members[0], nil
	}
	var found []string
	for _, member := range members {
		r, err := d.get(member)
		if err != nil {
			return "", err
		}
		if err := d.failure("reading "+member, r); err != nil {
			return "", err
		}
		sys, err := parseSystem(r.body)
		if err != nil {
			return "", fmt.Errorf("%w: %s cannot be parsed, so it is not known which machine it is: %w", errOdd, member, err)
		}
		if d.verify(sys) == nil {
			found = append(found, member)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: %d of the BMC's %d systems match the configured uuid, serial and hostname; exactly one must",
			fencing.ErrPermanent, len(found), len(members))
	}
	return found[0], nil
}

// members lists the systems, following the links from the service root.
func (d *Device) members() ([]string, error) {
	root, err := d.fetch("/redfish/v1/")
	if err != nil {
		return nil, err
	}
	next := root.object("Systems").text("@odata.id")
	if next == "" {
		return nil, fmt.Errorf("%w: the BMC's service root names no Systems", fencing.ErrPermanent)
	}
	var members []string
	for page := 0; next != ""; page++ {
		if page == maxPages || len(members) > maxSystems {
			return nil, fmt.Errorf("%w: the BMC has more systems than can be searched: name one by the setting system", fencing.ErrPermanent)
		}
		path, err := localPath(d.origin, next)
		if err != nil {
			return nil, fmt.Errorf("%w: the collection of systems: %w", fencing.ErrPermanent, err)
		}
		r, err := d.get(path)
		if err != nil {
			return nil, err
		}
		if err := d.failure("listing its systems", r); err != nil {
			return nil, err
		}
		var links []string
		if links, next, err = parseMembers(r.body); err != nil {
			return nil, fmt.Errorf("%w: the list of systems cannot be parsed: %w", errOdd, err)
		}
		for _, link := range links {
			member, err := localPath(d.origin, link)
			if err != nil {
				return nil, fmt.Errorf("%w: a system: %w", fencing.ErrPermanent, err)
			}
			members = append(members, member)
		}
	}
	return members, nil
}

func (d *Device) fetch(path string) (object, error) {
	r, err := d.get(path)
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, d.failure("reading "+path, r)
	}
	o, err := parseObject(r.body)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errOdd, path, err)
	}
	return o, nil
}
