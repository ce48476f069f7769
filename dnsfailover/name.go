package dnsfailover

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// fqdn returns name lower case and with a final dot.
func fqdn(name string) string {
	return dns.CanonicalName(name)
}

// absolute returns the owner name of a record in zone: "@" and "" are the apex,
// a name without a final dot is relative to zone.
func absolute(name, zone string) string {
	switch {
	case name == "@" || name == "":
		return zone
	case strings.HasSuffix(name, "."):
		return fqdn(name)
	case zone == ".":
		return fqdn(name)
	}
	return fqdn(name + "." + zone)
}

// within reports whether name is zone or lies below it. Both are canonical.
func within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

// checkLabel reports why label cannot be published: Quorate publishes letters,
// digits, hyphens and underscores only, so that no name ever needs escapes.
func checkLabel(label string) error {
	if label == "" {
		return errors.New("empty label")
	}
	if len(label) > 63 {
		return fmt.Errorf("label %q has %d characters, at most 63 are allowed", label, len(label))
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return fmt.Errorf("label %q begins or ends with a hyphen", label)
	}
	for i := range len(label) {
		c := label[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		if !ok {
			return fmt.Errorf("label %q has the character %q; use letters, digits, '-' and '_'", label, c)
		}
	}
	return nil
}

// checkName reports why a fully qualified name cannot be published. A leftmost
// label of * is allowed only with wildcard.
func checkName(name string, wildcard bool) error {
	trimmed := strings.TrimSuffix(name, ".")
	if trimmed == "" {
		return errors.New("the root is not a name for this server")
	}
	if len(trimmed) > 253 {
		return fmt.Errorf("name %q has %d characters, at most 253 are allowed", name, len(trimmed))
	}
	for i, label := range strings.Split(trimmed, ".") {
		if i == 0 && wildcard && label == "*" {
			continue
		}
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
	}
	return nil
}

// parent returns the name above name, which must be canonical and not the root.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	if rest == "" {
		return "."
	}
	return rest
}
