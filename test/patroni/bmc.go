package patroni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"quorate/test/lab"
)

const (
	BMCUser     = "root"
	BMCPassword = "calvin"
)

// BMC is the management controller of a database host. It is a host of its own
// on the lab's network, so that it stays reachable when its machine is cut off.
type BMC struct {
	Host        *lab.Host
	URL         string
	Fingerprint string // SHA-256 of its certificate, hex

	log     string
	control *http.Client
}

// PowerEvent is one line of a BMC's output.
type PowerEvent struct {
	Event string    `json:"event"` // ready, off, on
	Began time.Time `json:"began"` // off: when the killing began
	At    time.Time `json:"at"`    // off: when no process was left
	URL   string    `json:"url"`
	Print string    `json:"fingerprint"`
	Error string    `json:"error"`
}

// NewBMC makes the host bmc<i> and starts there the BMC of the given host.
func NewBMC(ctx context.Context, l *lab.Lab, i int, of *lab.Host, program string) (*BMC, error) {
	host, err := l.Host(ctx, fmt.Sprintf("bmc%d", i), fmt.Sprintf("10.77.0.%d", 30+i))
	if err != nil {
		return nil, err
	}
	process, err := host.Start(lab.Command{Argv: []string{
		program, "-namespace", of.Namespace(), "-listen", host.IP() + ":443",
		"-control", "127.0.0.1:8000", "-user", BMCUser, "-password", BMCPassword,
	}})
	if err != nil {
		return nil, err
	}
	b := &BMC{Host: host, log: process.Log, control: &http.Client{
		Transport: &http.Transport{DialContext: host.DialContext, DisableKeepAlives: true},
		Timeout:   5 * time.Second,
	}}
	err = lab.Until(ctx, healthyBound, "the BMC "+host.Name(), func(context.Context) error {
		for _, e := range b.Events() {
			if e.Event == "ready" {
				b.URL, b.Fingerprint = e.URL, e.Print
				return nil
			}
		}
		return errors.New("it has not said where it serves")
	})
	return b, err
}

// Events returns what the BMC has reported so far.
func (b *BMC) Events() []PowerEvent {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return nil // it has not written yet
	}
	var events []PowerEvent
	for line := range strings.Lines(string(text)) {
		var e PowerEvent
		if json.Unmarshal([]byte(line), &e) == nil && e.Event != "" { // other lines are its log
			events = append(events, e)
		}
	}
	return events
}

// OffSince returns when the host was completely off, for the first time after
// the given instant.
func (b *BMC) OffSince(since time.Time) (PowerEvent, error) {
	for _, e := range b.Events() {
		if e.Event == "off" && e.Error == "" && e.Began.After(since) {
			return e, nil
		}
	}
	return PowerEvent{}, fmt.Errorf("%s was never told to power its host off", b.Host.Name())
}

// Press sets the machine's power as its button does, without a command by
// Redfish: "On" or "Off".
func (b *BMC) Press(ctx context.Context, power string) error {
	return b.post(ctx, "/control/power", map[string]any{"system": "1", "power": power})
}

// SetFaults replaces the BMC's faults (package simulated names them).
func (b *BMC) SetFaults(ctx context.Context, faults ...string) error {
	return b.post(ctx, "/control/fault", map[string]any{"faults": append([]string{}, faults...)})
}

func (b *BMC) post(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:8000"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := b.control.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", b.Host.Name(), path, response.Status)
	}
	return nil
}
