package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// fenceTest is what one witness answers to a test.
type fenceTest struct {
	httpapi.Meta
	Server string            `json:"server"`
	Test   httpapi.FenceTest `json:"test"`
	Error  string            `json:"error,omitempty"`
}

// ready says whether some level has all of its devices ready.
func (f *fenceTest) ready() bool {
	failed, levels := map[int]bool{}, map[int]bool{}
	for _, d := range f.Test.Devices {
		levels[d.Level] = true
		failed[d.Level] = failed[d.Level] || !d.Ready
	}
	for n := range levels {
		if !failed[n] {
			return true
		}
	}
	return false
}

// fenceTestTime is longer than a witness needs to give up on every device.
const fenceTestTime = 20 * time.Second

func fenceTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "test HOST", Short: "Ask a host's fence devices, from every witness, whether they could power it off now",
		Long: `fence test does all that a power-off does but the command: it connects, logs in,
compares the identity, reads the power state and looks for the privilege. It asks
every witness that --server names, since each has its own way to the devices, and
changes nothing. The witnesses do the same by themselves every few minutes:
fence status shows what they found.

It ends with 5 if no witness could power the host off.

` + exitHelp,
		Example: "  witnessctl fence test db1\n  witnessctl --server http://w1:8080,http://w2:8080,http://w3:8080 fence test db1",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			tests := make([]fenceTest, len(a.servers))
			done := make(chan struct{})
			for i, server := range a.servers {
				go func() {
					defer func() { done <- struct{}{} }()
					one := *a
					one.servers = []string{server}
					tests[i].Server = server
					err := one.send(c.Context(), call{
						method: http.MethodPost, path: path("hosts", args[0], "fence-test"), wait: fenceTestTime, again: true,
					}, &tests[i])
					if err != nil {
						tests[i].Error = err.Error()
					}
				}()
			}
			for range tests {
				<-done
			}
			return a.tested(args[0], tests)
		},
	}
}

func (a *app) tested(host string, tests []fenceTest) error {
	able, failed := []string{}, []string{}
	for i := range tests {
		switch {
		case tests[i].Error != "":
			failed = append(failed, tests[i].Server+": "+tests[i].Error)
		case tests[i].ready():
			able = append(able, tests[i].Node)
		}
	}
	if len(failed) == len(tests) {
		return errors.New(strings.Join(failed, "; "))
	}
	if err := a.print(tests, func(w io.Writer) { writeTests(w, tests) }); err != nil {
		return err
	}
	if len(able) == 0 {
		return &exitError{code: ExitUnproven, err: fmt.Errorf("no witness that was asked could power %s off now", host)}
	}
	return nil
}

func writeTests(w io.Writer, tests []fenceTest) {
	t := &table{head: []string{"Witness", "Level", "Device", "Ready", "State", "Took"}}
	for i := range tests {
		for _, d := range tests[i].Test.Devices {
			ready := witness.ReadyYes
			if !d.Ready {
				ready = witness.ReadyNo
			}
			t.add(tests[i].Node, fmt.Sprint(d.Level), d.Device, ready, dash(d.State), since(d.Took))
		}
	}
	t.write(w)
	for i := range tests {
		if tests[i].Error != "" {
			fmt.Fprintf(w, "! %s: %s\n", tests[i].Server, tests[i].Error)
		}
		for _, d := range tests[i].Test.Devices {
			for _, text := range d.Faults {
				fmt.Fprintf(w, "! %s, %s: %s\n", tests[i].Node, d.Device, text)
			}
			for _, text := range d.Warnings {
				fmt.Fprintf(w, "? %s, %s: %s\n", tests[i].Node, d.Device, text)
			}
		}
	}
}
