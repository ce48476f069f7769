package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
)

func dnsCommand(a *app) *cobra.Command {
	show := &cobra.Command{
		Use: "show [ZONE]", Short: "A zone as it is served, as RFC 1035 text; without a name, the list of zones",
		Example: "  witnessctl dns show\n  witnessctl dns show db.example.org",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listZones(c)
			}
			var raw []byte
			if err := a.send(c.Context(), call{method: http.MethodGet, path: path("dns", args[0]), again: true}, &raw); err != nil {
				return err
			}
			return a.print(map[string]string{"zone": args[0], "text": string(raw)}, func(w io.Writer) { _, _ = w.Write(raw) })
		},
	}
	return group("dns", "The zones that the witnesses serve", "  witnessctl dns show db.example.org", show, dnsKeyCommand(a))
}

func (a *app) listZones(c *cobra.Command) error {
	var body struct {
		httpapi.Meta
		Serial uint64             `json:"dns_index"`
		Zones  []witness.ZoneSpec `json:"zones"`
	}
	if err := a.get(c.Context(), "/v1/dns", nil, &body); err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) {
		readOnlyNote(w, &body.Meta)
		t := &table{head: []string{"Zone", "TTL", "Name servers"}}
		for _, z := range body.Zones {
			servers := make([]string, len(z.NS))
			for i, ns := range z.NS {
				servers[i] = ns.Name + " " + ns.Address
			}
			ttl := z.TTL
			if ttl == 0 {
				ttl = 5
			}
			t.add(z.Name, fmt.Sprintf("%d s", ttl), strings.Join(servers, ", "))
		}
		t.write(w)
	})
}
