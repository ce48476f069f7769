package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"quorate/witness"
)

// Node is what one witness of the demo is told.
type Node struct {
	Name, Site, Data      string
	Peers                 map[string]string
	Peer, Etcd, HTTP, DNS string // host:port to listen on
}

// plan makes three nodes on loopback addresses of their own, with free ports.
func planNodes(dir string) ([]Node, error) {
	peers := map[string]string{}
	var nodes []Node
	for i := 1; i <= 3; i++ {
		n := Node{Name: fmt.Sprintf("w%d", i), Site: fmt.Sprintf("site%d", i), Data: fmt.Sprintf("%s/w%d", dir, i), Peers: peers}
		ip := fmt.Sprintf("127.77.0.1%d", i)
		for _, field := range []*string{&n.Peer, &n.Etcd, &n.HTTP, &n.DNS} {
			addr, err := freePort(ip)
			if err != nil {
				return nil, err
			}
			*field = addr
		}
		peers[n.Name] = n.Peer
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func freePort(ip string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return "", fmt.Errorf("the demo needs the loopback addresses 127.77.0.0/24, which Linux has: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// api speaks to the HTTP API of any witness that answers.
type api struct{ servers []string }

func (a *api) do(ctx context.Context, method, path string, in, out any) error {
	var last error
	for _, server := range a.servers {
		if last = a.ask(ctx, "http://"+server, method, path, in, out); last == nil {
			return nil
		}
	}
	return last
}

func (a *api) ask(ctx context.Context, server, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, server+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// config declares the demo's hosts, BMCs, cluster and zone.
func config(hosts []*host, nodes []Node) witness.Config {
	cfg := witness.Config{Zones: []witness.ZoneSpec{{Name: zone, TTL: 5}}}
	for i, n := range nodes {
		ip, _, _ := net.SplitHostPort(n.DNS)
		cfg.Sites = append(cfg.Sites, witness.Site{Name: n.Site})
		cfg.Zones[0].NS = append(cfg.Zones[0].NS, witness.NameServer{Name: fmt.Sprintf("ns%d.%s", i+1, zone), Address: ip})
	}
	cluster := witness.ClusterSpec{
		Name: "demo", Kind: witness.KindPatroni, Zone: zone, Fencing: witness.FencingRequired, Fast: witness.FastOn,
	}
	for i, h := range hosts {
		device := "bmc-" + h.name
		cfg.Devices = append(cfg.Devices, witness.Device{Name: device, Driver: "redfish", Settings: map[string]string{
			"url": h.bmc.URL(), "username": "admin", "password": "password", "cert_sha256": h.bmc.Fingerprint(),
		}})
		cfg.Hosts = append(cfg.Hosts, witness.Host{
			Name: h.name, Site: nodes[i].Site, Addresses: []string{h.member.addr}, Fence: []witness.FenceStep{{Level: 1, Device: device}},
		})
		cluster.Members = append(cluster.Members, witness.MemberSpec{Name: h.member.name, Host: h.name})
	}
	cfg.Clusters = []witness.ClusterSpec{cluster}
	return cfg
}

const zone = "db.demo."

func splitAddr(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}
