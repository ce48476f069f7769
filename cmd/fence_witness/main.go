// Command fence_witness is a fence agent for Pacemaker (FenceAgentAPI): it asks
// the witnesses to power a node off or on, waits for the proof, and passes their
// refusal on to the side that lost the vote.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set at build time.
var version = "dev"

func main() {
	// The fencer ends an agent by a signal; what was ordered goes on without us.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes of a fence agent.
const (
	exitOK   = 0
	exitFail = 1
	exitOff  = 2 // of status: the node is off
)

// run does what the command line, or without one the input, asks for.
func run(ctx context.Context, argv []string, in io.Reader, out, errs io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(errs, "fence_witness:", err)
		return exitFail
	}
	o := defaults()
	var err error
	if len(argv) > 0 {
		err = o.parseArgs(argv)
	} else {
		err = o.parseInput(in)
	}
	if err != nil {
		return fail(err)
	}
	switch {
	case o.help, o.action == "manpage":
		fmt.Fprint(out, help())
		return exitOK
	case o.version:
		fmt.Fprintln(out, version)
		return exitOK
	case o.action == "metadata":
		fmt.Fprint(out, metadata())
		return exitOK
	}
	if err := o.validate(); err != nil {
		return fail(err)
	}
	if o.action == "validate-all" {
		return exitOK
	}
	ctx, cancel := context.WithTimeout(ctx, o.budget())
	defer cancel()
	c, err := newClient(o)
	if err != nil {
		return fail(err)
	}
	a := agent{options: o, client: c, out: out, errs: errs, now: time.Now, node: "a nameless machine"}
	if node, err := os.Hostname(); err == nil {
		a.node = node
	}
	code, err := a.do(ctx)
	if err != nil {
		return fail(err)
	}
	return code
}
