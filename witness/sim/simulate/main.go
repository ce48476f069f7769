// Command simulate runs many schedules of the simulator and reports seeds that
// break an invariant. It exits with 1 if there are any.
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"quorate/witness/sim"
)

func main() {
	seed := flag.Uint64("seed", 1, "first seed")
	schedules := flag.Int("schedules", 20000, "how many seeds")
	steps := flag.Int("steps", 0, "events under faults in each schedule; 0 = as usual")
	workers := flag.Int("workers", 2, "schedules at one time")
	corosync := flag.Bool("corosync", false, "the quorum device of a corosync cluster instead of Patroni clusters")
	trace := flag.Bool("trace", false, "print one line for each event (with -schedules 1)")
	flag.Parse()
	if *trace {
		r := sim.Run(*seed, options(*seed, *steps, *corosync, true))
		fmt.Printf("%+v\n", r)
		os.Exit(min(len(r.Violations), 1))
	}
	begin := time.Now()
	sum := campaign(*seed, *schedules, *steps, *workers, *corosync)
	fmt.Printf("%s in %s\n", sum, time.Since(begin).Round(time.Millisecond))
	if len(sum.Failed) > 0 {
		fmt.Printf("replay: go run ./witness/sim/simulate -seed %d -steps %d -corosync=%t -trace\n", sum.Failed[0], *steps, *corosync)
		os.Exit(1)
	}
}

// options has each fourth schedule compare all witnesses entry by entry.
func options(seed uint64, steps int, corosync, trace bool) sim.Options {
	opt := sim.Options{Steps: steps, Corosync: corosync, Verify: seed%4 == 0}
	if corosync && steps == 0 {
		opt.Steps = 8000 // heartbeats are events, too
	}
	if trace {
		opt.Trace = os.Stdout
	}
	return opt
}

func campaign(first uint64, schedules, steps, workers int, corosync bool) sim.Summary {
	var mu sync.Mutex
	var next atomic.Uint64
	var wg sync.WaitGroup
	var sum sim.Summary
	for range max(workers, 1) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= uint64(schedules) {
					return
				}
				r := sim.Run(first+i, options(first+i, steps, corosync, false))
				mu.Lock()
				sum.Add(r)
				for _, v := range r.Violations {
					fmt.Printf("seed %d, step %d: %s\n", r.Seed, r.Steps, v)
				}
				if sum.Schedules%5000 == 0 {
					fmt.Println(sum)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return sum
}
