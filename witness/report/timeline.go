package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"quorate/witness"
)

// Options say how a timeline looks. The zero value is good for a terminal.
type Options struct {
	Cluster string // named in the heading, if given
	ASCII   bool   // bars of '#' instead of block characters
	Width   int    // columns to wrap the sentences at; 0 = do not wrap
}

// barWidth is the width of the bars in columns: all of it is the whole run.
const barWidth = 24

// Timeline writes the story of one failover or switchover: a heading and one
// line for each phase with its time since the first one, how long the step to
// it took, and that step as a bar on a common scale. All times are cluster
// time. It returns the error of w.
func Timeline(w io.Writer, run *witness.Run, opts Options) error {
	var b strings.Builder
	heading(&b, run, opts)
	if len(run.Phases) == 0 {
		b.WriteString("  nothing is recorded of it yet\n")
	}
	name := 0
	for _, p := range run.Phases {
		name = max(name, len(p.Name))
	}
	for i := range run.Phases {
		p := &run.Phases[i]
		before := run.Phases[max(0, i-1)].At
		prefix := fmt.Sprintf("  %10s %9s  %s  %-*s  ", "+"+clock(p.At-run.Phases[0].At), step(i, p.At-before),
			bar(run, before, p.At, opts.ASCII), name, p.Name)
		wrap(&b, prefix, p.Text, opts.Width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func heading(b *strings.Builder, run *witness.Run, opts Options) {
	fmt.Fprintf(b, "%s", run.Kind)
	if opts.Cluster != "" {
		fmt.Fprintf(b, " of %s", opts.Cluster)
	}
	if run.From != "" {
		fmt.Fprintf(b, " from %s", run.From)
	}
	if run.To != "" {
		fmt.Fprintf(b, " to %s", run.To)
	}
	fmt.Fprintf(b, ": %s", run.State)
	if total := Length(run); total > 0 {
		fmt.Fprintf(b, " after %s", clock(total))
	}
	fmt.Fprintf(b, ", epoch %d", run.Epoch)
	if run.NewEpoch != 0 {
		fmt.Fprintf(b, " → %d", run.NewEpoch)
	}
	b.WriteString("\n")
	if len(run.Phases) > 0 {
		fmt.Fprintf(b, "  run %d, began %s\n", run.ID, time.UnixMilli(run.Phases[0].Wall).UTC().Format("2006-01-02 15:04:05.000 MST"))
	}
	if run.By != "" {
		fmt.Fprintf(b, "  asked for by %s: %s\n", run.By, run.Reason)
	} else if run.Reason != "" {
		fmt.Fprintf(b, "  reason: %s\n", run.Reason)
	}
}

// Length returns the cluster time from the first to the last phase.
func Length(run *witness.Run) time.Duration {
	if len(run.Phases) == 0 {
		return 0
	}
	return run.Phases[len(run.Phases)-1].At - run.Phases[0].At
}

// clock writes a time span in seconds, or with minutes and hours when long.
func clock(d time.Duration) string {
	if d < 10*time.Minute {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func step(i int, d time.Duration) string {
	if i == 0 {
		return ""
	}
	return clock(d)
}

// bar draws the step from one time to another on the scale of the whole run. A
// step too short to see still gets one thin mark.
func bar(run *witness.Run, from, to witness.Time, ascii bool) string {
	full, thin := "█", "▏"
	if ascii {
		full, thin = "#", "|"
	}
	total := Length(run)
	if total <= 0 {
		return thin + strings.Repeat(" ", barWidth-1)
	}
	at := func(t witness.Time) int { return int(int64(t-run.Phases[0].At) * barWidth / int64(total)) }
	start, end := at(from), at(to)
	if start == end {
		start = min(start, barWidth-1)
		return strings.Repeat(" ", start) + thin + strings.Repeat(" ", barWidth-1-start)
	}
	return strings.Repeat(" ", start) + strings.Repeat(full, end-start) + strings.Repeat(" ", barWidth-end)
}

// wrap writes text after prefix, and further lines below its start.
func wrap(b *strings.Builder, prefix, text string, width int) {
	indent := utf8.RuneCountInString(prefix)
	room := width - indent
	b.WriteString(prefix)
	if width == 0 || room < 20 {
		b.WriteString(text + "\n")
		return
	}
	line := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if i > 0 && line+1+n > room {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			line = 0
		} else if i > 0 {
			b.WriteString(" ")
			line++
		}
		b.WriteString(word)
		line += n
	}
	b.WriteString("\n")
}
