package main

import (
	"fmt"
	"strings"
)

// parameter is one option of the agent, for standard input, the command line and
// the metadata alike.
type parameter struct {
	name       string // in the input and the metadata
	short      string // flag of one letter, or ""
	long       string
	value      string // what it takes, for the help; "" for a switch
	kind       string // string, second, boolean
	preset     string
	required   bool
	deprecated bool
	obsoletes  string
	text       string
	set        func(*options, string)
}

var parameters = []parameter{
	{
		name: "action", short: "o", long: "action", value: "action", kind: "string", preset: "reboot", required: true,
		text: "Fencing action", set: func(o *options, v string) { o.action = v },
	},
	{
		name: "url", short: "u", long: "url", value: "url,url,url", kind: "string", required: true,
		text: "HTTP API of the witnesses, separated by commas; all of them are tried",
		set:  func(o *options, v string) { o.urls = splitURLs(v) },
	},
	{
		name: "port", long: "port", value: "node", kind: "string", deprecated: true,
		text: "The node to fence", set: func(o *options, v string) { o.plug = v },
	},
	{
		name: "plug", short: "n", long: "plug", value: "node", kind: "string", obsoletes: "port",
		text: "The node to fence: the name of the host, or of the cluster's member, at the witnesses",
		set:  func(o *options, v string) { o.plug = v },
	},
	{
		name: "cluster", short: "c", long: "cluster", value: "name", kind: "string",
		text: "Name of the cluster at the witnesses: only its own nodes are known then",
		set:  func(o *options, v string) { o.cluster = v },
	},
	{
		name: "ca_file", long: "ca-file", value: "file", kind: "string",
		text: "Certificates (PEM) that the witnesses' certificates must be signed by; default: the machine's",
		set:  func(o *options, v string) { o.caFile = v },
	},
	{
		name: "cert_file", long: "cert-file", value: "file", kind: "string",
		text: "Certificate (PEM) to identify this cluster by", set: func(o *options, v string) { o.certFile = v },
	},
	{
		name: "key_file", long: "key-file", value: "file", kind: "string",
		text: "Private key (PEM) of that certificate", set: func(o *options, v string) { o.keyFile = v },
	},
	{
		name: "timeout", short: "t", long: "timeout", value: "seconds", kind: "second", preset: "50",
		text: "Give up after this time; keep it a few seconds below Pacemaker's stonith-timeout",
		set:  func(o *options, v string) { o.timeout = v },
	},
	{
		name: "help", short: "h", long: "help", kind: "boolean",
		text: "Display help and exit", set: func(o *options, v string) { o.help = isTrue(v) },
	},
	{
		name: "version", short: "V", long: "version", kind: "boolean",
		text: "Display version information and exit", set: func(o *options, v string) { o.version = isTrue(v) },
	},
}

func isTrue(v string) bool { return v != "0" && v != "no" && v != "false" && v != "off" }

// action is what the agent can do.
type action struct{ name, attributes, text string }

var allActions = []action{
	{"on", ` automatic="0"`, "power the node on"},
	{"off", "", "power the node off and prove it"},
	{"reboot", "", "power the node off, prove it, and power it on"},
	{"status", "", "0: on, 2: proven off"},
	{"list", "", "the nodes that can be fenced, as name,alias"},
	{"list-status", "", "the same with on, off or unknown"},
	{"monitor", "", "do the witnesses decide, and can they fence every node?"},
	{"metadata", "", "describe the agent in XML"},
	{"manpage", "", "describe the agent for people"},
	{"validate-all", "", "check the options"},
}

func actions() []string {
	names := make([]string, len(allActions))
	for i, a := range allActions {
		names[i] = a.name
	}
	return names
}

const (
	shortDescription = "Fence agent for the witnesses of Quorate"
	longDescription  = `fence_witness asks the witnesses to power a node off, and succeeds when they have proven it off. The witnesses know the node's
power devices and the quorum device's vote: a request by the side that lost the vote is refused. It tries every witness, waits for them to elect a
leader within its own time limit, and repeating a request does not fence twice.`
)

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// metadata describes the agent as fence-agents' metadata.rng wants it. It must
// work for any user, without configuration, network or a writable disk.
func metadata() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add(`<?xml version="1.0" ?>`)
	add(`<resource-agent name="fence_witness" shortdesc="%s">`, shortDescription)
	add("<longdesc>%s</longdesc>", escape.Replace(longDescription))
	add("<vendor-url></vendor-url>")
	add("<parameters>")
	for _, p := range parameters {
		extra := ""
		if p.deprecated {
			extra += ` deprecated="1"`
		}
		if p.obsoletes != "" {
			extra += fmt.Sprintf(` obsoletes="%s"`, p.obsoletes)
		}
		add(`	<parameter name="%s" unique="0" required="%d"%s>`, p.name, bit(p.required), extra)
		add(`		<getopt mixed="%s" />`, escape.Replace(p.flags()))
		if p.preset != "" {
			add(`		<content type="%s" default="%s" />`, p.kind, p.preset)
		} else {
			add(`		<content type="%s" />`, p.kind)
		}
		add(`		<shortdesc lang="en">%s</shortdesc>`, escape.Replace(p.text))
		add("	</parameter>")
	}
	add("</parameters>\n<actions>")
	for _, a := range allActions {
		add(`	<action name="%s"%s />`, a.name, a.attributes)
	}
	add("</actions>\n</resource-agent>")
	return b.String()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// flags is how the option is written on the command line.
func (p *parameter) flags() string {
	s := "--" + p.long
	if p.value != "" {
		s += "=[" + p.value + "]"
	}
	if p.short != "" {
		s = "-" + p.short + ", " + s
	}
	return s
}

// help is for people.
func help() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("%s\n\n%s\n\nUsage:\n  fence_witness [options]\n", shortDescription, longDescription)
	add("Without options they are read from standard input, one key=value per line, as Pacemaker gives them.\n\nOptions:")
	for _, p := range parameters {
		text := p.text
		if p.preset != "" {
			text += " (default: " + p.preset + ")"
		}
		add("  %-28s %s", p.flags(), text)
	}
	add("\nActions:")
	for _, a := range allActions {
		add("  %-28s %s", a.name, a.text)
	}
	add("\nExample:\n  fence_witness -u http://10.0.1.11:8080,http://10.0.2.11:8080,http://10.0.3.11:8080 -o status -n node2")
	add("  pcs stonith create witness fence_witness url=http://10.0.1.11:8080,http://10.0.2.11:8080,http://10.0.3.11:8080 cluster=mycluster")
	add("\nExit codes:\n  0  done and proven; status: on\n  1  not done, or not proven; the error says why\n  2  status: the node is proven off")
	return b.String()
}
