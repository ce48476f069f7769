package report_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/report"
)

var update = flag.Bool("update", false, "rewrite the golden files; commit the change only if you can explain it")

func failover() *witness.Run {
	start := witness.Time(3 * time.Hour)
	phase := func(name string, after time.Duration, text string) witness.Phase {
		return witness.Phase{Name: name, At: start + after, Wall: 1_795_000_000_000 + after.Milliseconds(), Text: text}
	}
	return &witness.Run{
		ID: 42, Kind: witness.RunFailover, From: "pg1", To: "pg2", Epoch: 7, NewEpoch: 8, State: witness.RunCompleted,
		Phases: []witness.Phase{
			phase("lease-dead", 0, "the lease of pg1 died (fast); its leader key stays until db1 is proven off"),
			phase("decided", 0, "db1 is unreachable from a majority of the witnesses and it lost its own connections to all of them; it is powered off before its lease ends, then demo is released"),
			phase("proven-off", 2140*time.Millisecond, "db1 is off: observed-off; read back twice"),
			phase("released", 2140*time.Millisecond, "pg1 is released from epoch 7 of demo: observed-off by w2"),
			phase("granted", 3050*time.Millisecond, "pg2 holds demo with epoch 8; DNS names it from this entry on"),
		},
	}
}

func TestTimeline(t *testing.T) {
	held := &witness.Run{ID: 9, Kind: witness.RunFailover, From: "pg1", Epoch: 1, State: witness.RunHeld, Phases: []witness.Phase{
		{Name: "lease-dead", At: 0, Text: "dead"}, {Name: "held", At: witness.Time(26 * time.Hour), Text: "held: nobody looked"},
	}}
	asked := failover()
	asked.Kind, asked.By, asked.Reason, asked.State, asked.NewEpoch, asked.Phases = witness.RunSwitchover, "anna@ops", "new kernel", witness.RunRunning, 0, nil
	for name, tc := range map[string]struct {
		run  *witness.Run
		opts report.Options
	}{
		"failover": {failover(), report.Options{Cluster: "demo"}},
		"wrapped":  {failover(), report.Options{Width: 100, ASCII: true}},
		"held":     {held, report.Options{}},
		"empty":    {asked, report.Options{Cluster: "demo"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := report.Timeline(&b, tc.run, tc.opts); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
			}
		})
	}
}

type broken struct{}

var errBroken = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestTimelineReturnsTheErrorOfTheWriter(t *testing.T) {
	if err := report.Timeline(broken{}, failover(), report.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}
