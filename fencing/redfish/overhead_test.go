package redfish_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/simulated"
)

// BenchmarkOverhead measures what fencing costs above the machine's own time: connecting, TLS, polling, confirming.
// Target: at most 250 ms at the 99th percentile, on loopback.
func BenchmarkOverhead(b *testing.B) {
	const device = 200 * time.Millisecond
	var total []time.Duration
	for b.Loop() {
		total = append(total, fenceOnce(b, device)-device)
	}
	slices.Sort(total)
	b.ReportMetric(float64(total[len(total)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(total[len(total)*99/100].Microseconds())/1000, "ms-p99")
	b.ReportMetric(float64(total[len(total)-1].Microseconds())/1000, "ms-max")
}

func fenceOnce(b *testing.B, delay time.Duration) time.Duration {
	bmc, err := simulated.New(simulated.Config{Password: password, Delay: delay})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bmc.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	device, err := openFor(bmc)
	if err != nil {
		b.Fatal(err)
	}
	started := time.Now()
	r := fencing.Off(ctx, host(device), patient())
	took := time.Since(started)
	if r.Outcome != fencing.Confirmed {
		b.Fatal(r.Reason)
	}
	return took
}
