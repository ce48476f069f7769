package redfish

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"quorate/fencing"
)

// find looks the outlets up, following the links from the service root, and makes sure that the PDU is the right one.
func (d *Outlets) find() error {
	if d.pdu == "" {
		if err := d.findPDU(); err != nil {
			return err
		}
	}
	if d.config.Group != "" {
		return d.findGroup()
	}
	var found []*socket
	var members []string
	for _, name := range d.config.outlets {
		uri := name
		if !strings.HasPrefix(name, "/") {
			if members == nil {
				var err error
				if members, err = d.collection(d.pdu, "Outlets"); err != nil {
					return err
				}
			}
			var err error
			if uri, err = pick("outlet", name, members); err != nil {
				return err
			}
		}
		found = append(found, &socket{name: path.Base(uri), uri: uri, kind: "Outlet"})
	}
	d.outlets = found
	return nil
}

func (d *Outlets) findGroup() error {
	uri := d.config.Group
	if !strings.HasPrefix(uri, "/") {
		groups, err := d.collection(d.pdu, "OutletGroups")
		if err != nil {
			return err
		}
		if uri, err = pick("outlet group", uri, groups); err != nil {
			return err
		}
	}
	group := &socket{name: "group " + path.Base(uri), uri: uri, kind: "OutletGroup"}
	part, err := d.readSocket(group)
	if err != nil {
		return err
	}
	if !group.seen {
		return fmt.Errorf("%w: the outlet group cannot be read (%s)", errOdd, part.Raw)
	}
	// Its own word is not taken for the whole: every outlet in it is read too.
	if n := len(group.last.members); n >= fencing.MaxParts {
		return fmt.Errorf("%w: outlet group %s has %d outlets, more than one host has: list the outlets by the setting outlets",
			fencing.ErrPermanent, uri, n)
	}
	var members []*socket
	for _, link := range group.last.members {
		member, err := localPath(d.link.origin, link)
		if err != nil {
			return fmt.Errorf("%w: an outlet of %s: %w", fencing.ErrPermanent, uri, err)
		}
		members = append(members, &socket{name: path.Base(member), uri: member, kind: "Outlet"})
	}
	d.outlets, d.group = members, group
	return nil
}

// findPDU finds the PDU if the settings name it, or if outlets have to be looked up in it.
func (d *Outlets) findPDU() error {
	if d.config.PDU == "" && d.config.Serial == "" && d.config.paths() {
		return nil
	}
	uri := d.config.PDU
	if !strings.HasPrefix(uri, "/") {
		pdus, err := d.pdus()
		if err != nil {
			return err
		}
		switch {
		case uri != "":
			if uri, err = pick("PDU", uri, pdus); err != nil {
				return err
			}
		case len(pdus) == 1:
			uri = pdus[0]
		default:
			return fmt.Errorf("%w: there are %d PDUs (%s): say which one by the setting pdu", fencing.ErrPermanent, len(pdus), strings.Join(pdus, ", "))
		}
	}
	o, err := d.link.fetch(uri)
	if err != nil {
		return err
	}
	serial := o.text("SerialNumber")
	if d.config.Serial != "" && serial != d.config.Serial {
		return fmt.Errorf("%w: wrong PDU: %s has serial %q, but %q is configured; nothing was sent", fencing.ErrPermanent, uri, serial, d.config.Serial)
	}
	d.pdu, d.serial = uri, serial
	return nil
}

func (d *Outlets) pdus() ([]string, error) {
	root, err := d.link.fetch("/redfish/v1/")
	if err != nil {
		return nil, err
	}
	equipment := root.object("PowerEquipment").text("@odata.id")
	if equipment == "" {
		return nil, fmt.Errorf("%w: the service root names no PowerEquipment: this is no PDU that speaks Redfish, or it is older; give outlets by their paths",
			fencing.ErrPermanent)
	}
	if equipment, err = localPath(d.link.origin, equipment); err != nil {
		return nil, fmt.Errorf("%w: PowerEquipment: %w", fencing.ErrPermanent, err)
	}
	return d.collection(equipment, "RackPDUs")
}

// collection lists what the resource at uri links to by a name.
func (d *Outlets) collection(uri, name string) ([]string, error) {
	o, err := d.link.fetch(uri)
	if err != nil {
		return nil, err
	}
	next := o.object(name).text("@odata.id")
	if next == "" {
		return nil, fmt.Errorf("%w: %s has no %s", fencing.ErrPermanent, uri, name)
	}
	var members []string
	for page := 0; next != ""; page++ {
		if page == maxPages || len(members) > maxSystems {
			return nil, fmt.Errorf("%w: %s has more %s than can be searched: give their paths", fencing.ErrPermanent, uri, name)
		}
		list, err := localPath(d.link.origin, next)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", fencing.ErrPermanent, name, err)
		}
		r, err := d.link.get(list)
		if err != nil {
			return nil, err
		}
		if r.status != http.StatusOK {
			return nil, d.link.failure("listing "+name, r)
		}
		var links []string
		if links, next, err = parseMembers(r.body); err != nil {
			return nil, fmt.Errorf("%w: the list of %s cannot be parsed: %w", errOdd, name, err)
		}
		for _, link := range links {
			member, err := localPath(d.link.origin, link)
			if err != nil {
				return nil, fmt.Errorf("%w: one of %s: %w", fencing.ErrPermanent, name, err)
			}
			members = append(members, member)
		}
	}
	return members, nil
}

// pick returns the member whose path ends in name. Exactly one must.
func pick(what, name string, members []string) (string, error) {
	var found []string
	for _, m := range members {
		if path.Base(m) == name {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: %d of %s are the %s %q: correct the setting", fencing.ErrPermanent, len(found), strings.Join(members, ", "), what, name)
	}
	return found[0], nil
}
