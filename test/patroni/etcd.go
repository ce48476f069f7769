package patroni

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"quorate/test/lab"
)

// Etcd is a real three-node etcd with its default settings.
type Etcd struct {
	Hosts []*lab.Host

	lab    *lab.Lab
	client *http.Client
}

// NewEtcd makes three hosts and starts etcd on them.
func NewEtcd(ctx context.Context, l *lab.Lab, client *lab.Host) (*Etcd, error) {
	e := &Etcd{lab: l, client: &http.Client{
		Transport: &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true},
		Timeout:   3 * time.Second,
	}}
	var initial []string
	for i := 1; i <= 3; i++ {
		h, err := l.Host(ctx, fmt.Sprintf("e%d", i), fmt.Sprintf("10.77.0.%d", 10+i))
		if err != nil {
			return nil, err
		}
		e.Hosts = append(e.Hosts, h)
		initial = append(initial, h.Name()+"=http://"+h.IP()+":2380")
	}
	for _, h := range e.Hosts {
		_, err := h.Start(lab.Command{Name: "etcd", Argv: []string{
			"/usr/bin/etcd", "--name", h.Name(), "--data-dir", filepath.Join(l.DataDir(), h.Name()),
			"--listen-client-urls", "http://" + h.IP() + ":2379", "--advertise-client-urls", "http://" + h.IP() + ":2379",
			"--listen-peer-urls", "http://" + h.IP() + ":2380", "--initial-advertise-peer-urls", "http://" + h.IP() + ":2380",
			"--initial-cluster", strings.Join(initial, ","),
		}})
		if err != nil {
			return nil, err
		}
	}
	return e, lab.Until(ctx, healthyBound, "etcd", e.healthy)
}

// Endpoints are the nodes' client addresses.
func (e *Etcd) Endpoints() []string {
	var endpoints []string
	for _, h := range e.Hosts {
		endpoints = append(endpoints, h.IP()+":2379")
	}
	return endpoints
}

func (e *Etcd) healthy(ctx context.Context) error {
	for _, endpoint := range e.Endpoints() {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/health", nil)
		if err != nil {
			return err
		}
		response, err := e.client.Do(request)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", endpoint, response.Status)
		}
	}
	return nil
}
