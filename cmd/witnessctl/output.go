package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// print writes v as the user wants it: by human, or as the API has it.
func (a *app) print(v any, human func(w io.Writer)) error {
	if a.format == formatTable {
		var b bytes.Buffer
		human(&b)
		_, err := a.out.Write(b.Bytes())
		return err
	}
	return a.structured(v)
}

// structured writes v as JSON or YAML, with the names of the API in both.
func (a *app) structured(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if a.format == formatYAML {
		if raw, err = toYAML(raw); err != nil {
			return err
		}
		_, err = a.out.Write(raw)
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", raw)
	return err
}

// toYAML rewrites JSON in the block style of YAML, in the same order.
func toYAML(raw []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return nil, err
	}
	plain(&node)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// plain takes the styles of JSON off a node: flow and quotes.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

// table is a table in the style of patronictl.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, "|")
	}
	rule := func() {
		for _, n := range width {
			fmt.Fprint(w, "+"+strings.Repeat("-", n+2))
		}
		fmt.Fprintln(w, "+")
	}
	rule()
	line(t.head)
	rule()
	for _, row := range t.rows {
		line(row)
	}
	if len(t.rows) > 0 {
		rule()
	}
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// size words a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// since words a number of seconds.
func since(s float64) string {
	if s > 10*365*24*3600 {
		return "never"
	}
	d := time.Duration(s * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// when words the wall time of an entry, in the local zone.
func when(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }
