// Command labbmc is the BMC of one laboratory host: Redfish over HTTPS whose
// ForceOff kills every process in that host's network namespace. It reports on
// standard output, one JSON object per line, where it serves and when the
// host's power changed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"quorate/fencing/simulated"
	"quorate/test/lab"
)

// killBound is how long a host's processes may take to die.
const killBound = 30 * time.Second

func main() {
	namespace := flag.String("namespace", "", "network namespace of the host whose power this is")
	listen := flag.String("listen", ":443", "address of the Redfish service")
	control := flag.String("control", "127.0.0.1:8000", "address of the service that sets faults")
	user := flag.String("user", "root", "name to log in with")
	password := flag.String("password", "calvin", "password to log in with")
	delay := flag.Duration("delay", 0, "time that the machine takes to go off")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *namespace, *listen, *control, *user, *password, *delay); err != nil {
		fmt.Fprintln(os.Stderr, "labbmc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, namespace, listen, control, user, password string, delay time.Duration) error {
	out := json.NewEncoder(os.Stdout)
	bmc, err := simulated.New(simulated.Config{
		Listen: listen, User: user, Password: password, Delay: delay,
		Systems: []simulated.System{{ID: "1", HostName: namespace}},
		OnOff: func(ctx context.Context, _ string) error {
			ctx, cancel := context.WithTimeout(ctx, killBound)
			defer cancel()
			began := time.Now()
			err := lab.KillNamespace(ctx, namespace)
			line := map[string]any{"event": "off", "began": began, "at": time.Now()}
			if err != nil {
				line["error"] = err.Error()
			}
			_ = out.Encode(line) // nobody reads it any more
			return err
		},
		OnOn: func(context.Context, string) error {
			_ = out.Encode(map[string]any{"event": "on", "at": time.Now()}) // as above
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	err = out.Encode(map[string]any{"event": "ready", "at": time.Now(), "url": bmc.URL(), "fingerprint": bmc.Fingerprint()})
	if err != nil {
		return err
	}
	server := &http.Server{Addr: control, Handler: bmc.Control(), ReadHeaderTimeout: time.Minute}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return bmc.Run(ctx) })
	group.Go(server.ListenAndServe)
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}
