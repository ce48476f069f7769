package main

import (
	"strings"
	"testing"
)

// What Pacemaker 2.1.5 was seen to write to an agent, and what people write.
func TestInput(t *testing.T) {
	const urls = "url=http://w1:8080,http://w2:8080\n"
	for _, c := range []struct {
		name, in     string
		action, plug string
		urls         int
	}{
		{name: "metadata", in: "action=metadata\n", action: "metadata"},
		{name: "monitor", in: "action=monitor\n" + urls, action: "monitor", urls: 2},
		{name: "fence", in: "nodename=n2\naction=off\nport=n2\n" + urls, action: "off", plug: "n2", urls: 2},
		{name: "plug goes before port", in: "port=a\nplug=b\nnodename=c\n", action: "reboot", plug: "b"},
		{name: "port goes before nodename", in: "nodename=c\nport=a\n", action: "reboot", plug: "a"},
		{name: "an argument of its own name", in: "nodename=n2\nX=mapped\n", action: "reboot", plug: "n2"},
		{name: "validate", in: "nodename=node1\naction=validate-all\nport=node1\n" + urls, action: "validate-all", plug: "node1", urls: 2},
		{name: "nothing", in: "", action: "reboot"},
		{name: "comments, unknown keys, noise", in: "# action=off\nagent=fence_witness\nno equals sign\n\naction=list\n", action: "list"},
		{name: "the last counts", in: "action=off\naction=on\n", action: "on"},
		{name: "CRLF and no last newline", in: "action=off\r\nplug=n2", action: "off", plug: "n2"},
		{name: "values have no quotes and may contain =", in: "action=off\nplug=a=b \"c\"\n", action: "off", plug: `a=b "c"`},
		{name: "spaces between addresses", in: "action=list\nurl=w1:8080, https://w2\n", action: "list", urls: 2},
	} {
		o := defaults()
		if err := o.parseInput(strings.NewReader(c.in)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if o.action != c.action || o.plug != c.plug || len(o.urls) != c.urls {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
	o := defaults()
	if err := o.parseInput(strings.NewReader("url=" + strings.Repeat("x", maxInput))); err == nil {
		t.Error("an endless line was taken")
	}
}

func TestArguments(t *testing.T) {
	for _, line := range []string{"-o off -n n2 -u http://w1:8080", "--action=off --plug=n2 --url=w1:8080", "--action off -nn2 -uw1:8080/", "-o off --port n2 -u w1:8080"} {
		o := defaults()
		if err := o.parseArgs(strings.Fields(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if o.action != "off" || o.plug != "n2" || len(o.urls) != 1 || o.urls[0] != "http://w1:8080" {
			t.Errorf("%s: %+v", line, o)
		}
	}
	for line, want := range map[string]string{"-o": "needs a value", "--frobnicate": "unknown option", "-x1": "unknown option", "--help=1": "takes no value", "off": "unknown option"} {
		o := defaults()
		if err := o.parseArgs(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestValidateTellsEverything(t *testing.T) {
	o := options{action: "explode", urls: []string{"http://", "ftp://w1"}, certFile: "/nonexistent", timeout: "soon"}
	err := o.validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, want := range []string{`unknown action "explode"`, `"http://"`, `"ftp://w1"`, "belong together", "/nonexistent", `"soon"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell %s", err, want)
		}
	}
	for _, o := range []options{{action: "monitor"}, {action: "off", urls: []string{"http://w1"}}} {
		if o.validate() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}
