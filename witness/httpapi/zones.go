package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

type zonesBody struct {
	Meta
	Serial uint64             `json:"dns_index" doc:"log index of the last change of an answer"`
	Zones  []witness.ZoneSpec `json:"zones"`
}

type zoneOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) routeZones(h huma.API) {
	register(a, h, huma.Operation{OperationID: "list-zones", Method: "GET", Path: "/v1/dns", Summary: "The zones that the witnesses serve", Tags: []string{"dns"}},
		func(ctx context.Context, in *ReadInput) (*answer[zonesBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[zonesBody]{zonesBody{a.meta(s), s.DNSIndex, append([]witness.ZoneSpec{}, s.Config.Zones...)}}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "show-zone", Method: "GET", Path: "/v1/dns/{zone}", Summary: "A zone as this witness serves it, as RFC 1035 text", Tags: []string{"dns"}},
		func(_ context.Context, in *struct {
			Zone string `path:"zone" maxLength:"255"`
		},
		) (*zoneOutput, error) {
			same := func(z witness.ZoneSpec) bool {
				return strings.EqualFold(strings.TrimSuffix(z.Name, "."), strings.TrimSuffix(in.Zone, "."))
			}
			zones := a.b.State().Config.Zones
			if a.opts.Zone == nil || !slices.ContainsFunc(zones, same) {
				return nil, errorf(witness.CodeNotFound, "there is no zone %q; `witnessctl dns show` lists them", in.Zone)
			}
			text, err := a.opts.Zone(in.Zone)
			if err != nil {
				return nil, fmt.Errorf("show zone %s: %w", in.Zone, err)
			}
			return &zoneOutput{"text/plain; charset=utf-8", []byte(text)}, nil
		}, nil)
}
