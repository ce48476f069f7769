package agent

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// maxOutput bounds what is kept of an agent's output: the end, where it says what went wrong.
const maxOutput = 64 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if len(t.data) > 2*maxOutput {
		t.data = append(t.data[:0], t.data[len(t.data)-maxOutput:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data[max(0, len(t.data)-maxOutput):])
}

// mask hides secrets, also in the forms that an HTTP library prints them in.
type mask struct{ replacer *strings.Replacer }

func newMask(options map[string]string) mask {
	var hide []string
	user := options["username"] + options["login"]
	for _, name := range slices.Sorted(maps.Keys(options)) {
		value := options[name]
		if !secret(name) || value == "" {
			continue
		}
		hide = append(hide, value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value)),
			base64.StdEncoding.EncodeToString([]byte(user+":"+value)))
	}
	slices.SortFunc(hide, func(a, b string) int { return len(b) - len(a) }) // the longer one first, where one holds another
	pairs := make([]string, 0, 2*len(hide))
	for _, value := range hide {
		pairs = append(pairs, value, "********")
	}
	return mask{strings.NewReplacer(pairs...)}
}

func (m mask) hide(text string) string { return m.replacer.Replace(text) }

// lastWords is the end of an agent's output on one line.
func lastWords(output string) string {
	lines := strings.FieldsFunc(output, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) > 3 {
		lines = lines[len(lines)-3:]
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " / ")
}
