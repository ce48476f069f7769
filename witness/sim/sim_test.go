package sim

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"
)

var (
	seed      = flag.Uint64("seed", 0, "run TestSimulate with this seed only")
	schedules = flag.Int("schedules", 600, "how many schedules TestSimulate runs")
	steps     = flag.Int("steps", 0, "events under faults in each schedule; 0 = as usual")
	trace     = flag.Bool("trace", false, "with -seed: print one line for each event")
)

// TestSimulate runs a small campaign; `go run ./witness/sim/simulate` runs a
// large one. Every fourth schedule has each witness apply the log itself.
func TestSimulate(t *testing.T) {
	first, n := uint64(1), *schedules
	if *seed != 0 {
		first, n = *seed, 1
	}
	var sum Summary
	for s := first; s < first+uint64(n); s++ {
		opt := Options{Steps: *steps, Verify: s%4 == 0}
		if *seed != 0 && *trace {
			opt.Trace = os.Stdout
		}
		r := Run(s, opt)
		sum.Add(r)
		if len(r.Violations) > 0 {
			t.Errorf("%v\nreplay: go test ./witness/sim -run TestSimulate -v -args -seed %d -steps %d -trace", r.Violations, s, *steps)
		}
	}
	t.Log(sum)
	if *seed == 0 && (sum.Grants < n || sum.Fences < n/4 || sum.Elections < n || sum.Held == 0 || sum.ByFeeds == 0 || sum.Orders == 0 || sum.Reboots == 0) {
		t.Errorf("too little happens in these schedules to prove anything: %s", sum)
	}
}

// TestReplay: the same seed gives the same run, event by event.
func TestReplay(t *testing.T) {
	for s := uint64(1); s <= 20; s++ {
		var a, b bytes.Buffer
		opt := Options{Verify: s%2 == 0}
		opt.Trace = &a
		x := Run(s, opt)
		opt.Trace = &b
		y := Run(s, opt)
		if !reflect.DeepEqual(x, y) || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("seed %d: two runs differ:\n%+v\n%+v", s, x, y)
		}
		opt.Trace = nil
		if z := Run(s, opt); !reflect.DeepEqual(x, z) {
			t.Fatalf("seed %d: the run without trace differs:\n%+v\n%+v", s, x, z)
		}
	}
}

// TestTeeth breaks one rule at a time. A simulator that does not notice would
// prove nothing by being content with the program.
func TestTeeth(t *testing.T) {
	for _, c := range []struct {
		name  string
		br    Break
		seeds int
	}{
		{"believe timeouts", Break{BelieveTimeouts: true}, 300},
		{"expire early", Break{ExpireEarly: true}, 300},
		{"expire without mark", Break{ExpireWithoutMark: true}, 3000},
		{"renew blindly", Break{RenewBlindly: true}, 1000},
		{"renew marked", Break{RenewMarked: true}, 3000},
		{"inherit deadlines", Break{InheritDeadlines: true}, 300},
		{"ignore pauses", Break{IgnorePauses: true}, 3000},
		{"execute blindly", Break{ExecuteBlindly: true}, 3000},
		{"commit alone", Break{CommitAlone: true}, 300},
		{"no guard", Break{NoGuard: true}, 300},
		{"confirm blindly", Break{ConfirmBlindly: true}, 1000},
		{"never fence", Break{NeverFence: true}, 300},
		{"believe one feed", Break{BelieveOneFeed: true}, 3000},
	} {
		t.Run(c.name, func(t *testing.T) {
			for s := uint64(1); s <= uint64(c.seeds); s++ {
				if r := Run(s, Options{Break: c.br}); len(r.Violations) > 0 {
					t.Logf("seed %d, step %d: %s", s, r.Steps, r.Violations[0])
					return
				}
			}
			t.Errorf("not noticed in %d schedules", c.seeds)
		})
	}
}

func ExampleRun() {
	r := Run(1, Options{})
	fmt.Println(r.Violations)
	// Output: []
}
