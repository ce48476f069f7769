package snmppdu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	stateFile    = "state.json"
	settingsFile = "settings.json"
	oddNumber    = 99
)

// Handler answers snmpd's pass_persist protocol (snmpd.conf(5)).
type Handler struct {
	profile  Profile
	folder   string
	objects  []object
	state    State
	settings Settings
}

// NewHandler serves the outlets of a profile, whose state it keeps in folder.
func NewHandler(profile, folder string) (*Handler, error) {
	p, ok := Profiles[profile]
	if !ok {
		return nil, fmt.Errorf("there is no profile %q", profile)
	}
	h := &Handler{profile: p, folder: folder}
	var err error
	if h.objects, err = p.objects(); err != nil {
		return nil, err
	}
	if err := readJSON(filepath.Join(folder, stateFile), &h.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if h.state.Outlets == nil {
		h.state.Outlets = map[string]*Outlet{}
		for _, name := range p.Outlets {
			h.state.Outlets[name] = &Outlet{On: true}
		}
	}
	return h, h.save()
}

func (h *Handler) save() error { return writeJSON(filepath.Join(h.folder, stateFile), h.state) }

// Serve answers until in ends.
func (h *Handler) Serve(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	next := func() string {
		lines.Scan()
		return strings.TrimSpace(lines.Text())
	}
	for lines.Scan() {
		var answer string
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "": // snmpd ends the value of a set with a line too many
			continue
		case "ping":
			answer = "PONG\n"
		case "get":
			answer = h.get(next(), false)
		case "getnext":
			answer = h.get(next(), true)
		case "set":
			oid := next()
			var err error
			if answer, err = h.set(oid, next()); err != nil {
				return err
			}
		default:
			answer = "NONE\n"
		}
		if _, err := io.WriteString(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (h *Handler) has(f Fault) bool { return slices.Contains(h.settings.Faults, f) }

// refresh reads what the test has set meanwhile, and lets what is due happen.
func (h *Handler) refresh() {
	var s Settings
	if readJSON(filepath.Join(h.folder, settingsFile), &s) == nil {
		h.settings = s
	}
	h.state.settle(time.Now())
}

func (h *Handler) find(text string, after bool) *object {
	oid, err := parse(text)
	if err != nil {
		return nil
	}
	for i := range h.objects {
		c := slices.Compare(h.objects[i].oid, oid)
		if (!after && c == 0) || (after && c > 0) {
			return &h.objects[i]
		}
	}
	return nil
}

func (h *Handler) get(oid string, after bool) string {
	h.refresh()
	o := h.find(oid, after)
	if o == nil || (h.has(Vanish) && o.outlet == h.settings.Bad && len(h.state.Sets) > 0) {
		return "NONE\n"
	}
	kind, value := "INTEGER", strconv.Itoa(h.value(o))
	if o.kind == "name" {
		kind, value = "STRING", "Outlet "+o.outlet
	}
	return format(o.oid) + "\n" + kind + "\n" + value + "\n"
}

// value is what a number reads as now.
func (h *Handler) value(o *object) int {
	p, outlet := h.profile, h.state.Outlets[o.outlet]
	moving := !outlet.Due.IsZero()
	pick := func(yes bool, a, b int) int {
		if yes {
			return a
		}
		return b
	}
	switch o.kind {
	case "pending":
		return pick(h.has(Waiting) || (moving && h.has(Pending)), p.PendingYes, p.PendingNo)
	case "off", "on": // what remains of the delay; -1: nothing waits
		return -1
	case "command":
		return pick(outlet.On, p.On, p.Off)
	}
	switch {
	case h.has(LockedWord) && o.outlet == h.settings.Bad && p.Locked != 0 && len(h.state.Sets) > 0:
		return p.Locked
	case h.has(OddWord) && len(h.state.Sets) > 0:
		return oddNumber
	case moving && p.Moving != 0:
		return p.Moving
	default:
		return pick(outlet.On, p.StatusOn, p.StatusOff)
	}
}

func (h *Handler) set(oid, typed string) (string, error) {
	h.refresh()
	o := h.find(oid, false)
	kind, value, _ := strings.Cut(typed, " ")
	n, err := strconv.Atoi(strings.Trim(value, `" `))
	if o == nil || !strings.EqualFold(kind, "integer") || err != nil {
		return "wrong-type\n", nil
	}
	write := Set{OID: oid, Outlet: o.outlet, Value: value, At: time.Now()}
	answer := h.carryOut(o, n)
	write.Refused = answer != "DONE\n"
	h.state.Sets = append(h.state.Sets, write)
	if err := h.save(); err != nil {
		return "", err
	}
	if h.has(SlowSet) {
		time.Sleep(h.settings.Slow)
	}
	return answer, nil
}

func (h *Handler) carryOut(o *object, n int) string {
	outlet, bad := h.state.Outlets[o.outlet], o.outlet == h.settings.Bad
	on, ok := h.meaning(o, n)
	switch {
	case !slices.Contains([]string{"off", "on", "command", "both"}, o.kind), h.has(LockedBad) && bad:
		return "not-writable\n"
	case !ok:
		return "wrong-value\n"
	case h.has(Busy):
		return "inconsistent-value\n"
	case h.has(Lie), h.has(LieBad) && bad, h.has(LockedWord) && bad:
		return "DONE\n"
	}
	if outlet.On == on && outlet.Due.IsZero() {
		return "DONE\n"
	}
	outlet.Want, outlet.Due = on, time.Now().Add(h.settings.Delay)
	if h.has(Pending) {
		outlet.Due = time.Now().Add(time.Hour)
	}
	h.state.settle(time.Now())
	return "DONE\n"
}

// meaning of a value that was written: on or off; false if it is none of the immediate commands.
func (h *Handler) meaning(o *object, n int) (on, ok bool) {
	p := h.profile
	switch {
	case o.kind == "off":
		return false, n == 0
	case o.kind == "on":
		return true, n == 0
	default:
		return n == p.On, n == p.On || n == p.Off
	}
}
