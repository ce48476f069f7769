package main

import (
	"context"

	"quorate/witness/httpapi"
	"quorate/witness/reconcile"
)

// fenceCare is what the API shows of the fence devices and their secrets.
type fenceCare struct {
	fencer  *reconcile.Fencer
	checker *reconcile.Checker
	secrets httpapi.Secrets
}

// fenceTest asks the fence devices of a host from here, as the API shows it.
func fenceTest(b *backend, f *reconcile.Fencer) func(context.Context, string) (httpapi.FenceTest, error) {
	return func(ctx context.Context, host string) (httpapi.FenceTest, error) {
		res, err := f.Check(ctx, b.State(), host)
		if err != nil {
			return httpapi.FenceTest{}, err
		}
		out := httpapi.FenceTest{Host: host, State: string(res.State), Devices: []httpapi.DeviceTest{}}
		for i := range res.Devices {
			d := &res.Devices[i]
			out.Devices = append(out.Devices, httpapi.DeviceTest{
				Device: d.Device, Level: d.Level, Ready: d.Ready, State: string(d.State),
				Faults: append([]string{}, d.Faults...), Warnings: append([]string{}, d.Warnings...), Took: d.Took.Seconds(),
			})
		}
		return out, nil
	}
}
