package pacemaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quorate/test/lab"
	"quorate/test/patroni"
	"quorate/witness/qnetd/authority"
)

// Witnesses is three witnessd, each on a host of its own.
type Witnesses struct {
	Nodes []*Witness

	lab     *lab.Lab
	client  *lab.Host // from where people and programs ask
	daemon  string    // path of witnessd
	control string    // path of witnessctl
}

// Witness is one witnessd.
type Witness struct {
	Name string
	Host *lab.Host

	dir     string
	process *lab.Process
}

// WitnessOptions are the parts of a witness's configuration that cases vary.
type WitnessOptions struct {
	// TLS of the quorum device: off or required; "" leaves the device out.
	TLS string
	// Authority is the folder of `witnessctl qdevice`.
	Authority string
}

// NewWitnesses makes the hosts w1, w2, w3, starts witnessd on them, and waits
// until they have a leader.
func NewWitnesses(ctx context.Context, l *lab.Lab, client *lab.Host, daemon, control string, o WitnessOptions) (*Witnesses, error) {
	w := &Witnesses{lab: l, client: client, daemon: daemon, control: control}
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("w%d", i)
		host, err := l.Host(ctx, name, fmt.Sprintf("10.77.0.%d", 10+i))
		if err != nil {
			return nil, err
		}
		w.Nodes = append(w.Nodes, &Witness{Name: name, Host: host, dir: filepath.Join(l.DataDir(), name)})
	}
	for i, n := range w.Nodes {
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(n.dir, "witnessd.yaml"), []byte(w.config(n, i+1, o)), 0o644); err != nil {
			return nil, err
		}
		if err := w.Start(n); err != nil {
			return nil, err
		}
	}
	_, err := w.WaitLeader(ctx)
	return w, err
}

func (w *Witnesses) config(n *Witness, site int, o WitnessOptions) string {
	var peers []string
	for _, p := range w.Nodes {
		peers = append(peers, p.Name+": \""+p.Host.IP()+":7400\"")
	}
	ip := n.Host.IP()
	text := fmt.Sprintf(`node: %s
site: site%d
data: %s
peers: {%s}
peer: {listen: "%s:7400", advertise: "%s:7400"}
http: {listen: "%s:8080", advertise: "http://%s:8080"}
`, n.Name, site, filepath.Join(n.dir, "data"), strings.Join(peers, ", "), ip, ip, ip, ip)
	switch o.TLS {
	case "":
		return text
	case "off":
		return text + fmt.Sprintf("qnetd: {listen: \"%s:5403\", tls: off}\n", ip)
	}
	return text + fmt.Sprintf("qnetd: {listen: \"%s:5403\", tls: %s, cert: %s, key: %s, client_ca: %s}\n",
		ip, o.TLS, filepath.Join(o.Authority, authority.ServerCertFile), filepath.Join(o.Authority, authority.ServerKeyFile), filepath.Join(o.Authority, authority.CertFile))
}

// Start starts a witness on the data that it has.
func (w *Witnesses) Start(n *Witness) error {
	var err error
	n.process, err = n.Host.Start(lab.Command{Argv: []string{w.daemon, "--config", filepath.Join(n.dir, "witnessd.yaml")}})
	return err
}

// Kill kills a witness; its host refuses connections from then on.
func (w *Witnesses) Kill(n *Witness) {
	n.process.Kill()
	<-n.process.Done()
}

// URLs are the addresses of the witnesses' HTTP API.
func (w *Witnesses) URLs() string {
	var urls []string
	for _, n := range w.Nodes {
		urls = append(urls, "http://"+n.Host.IP()+":8080")
	}
	return strings.Join(urls, ",")
}

// IPs are the witnesses' addresses.
func (w *Witnesses) IPs() []string {
	var ips []string
	for _, n := range w.Nodes {
		ips = append(ips, n.Host.IP())
	}
	return ips
}

// Ctl runs witnessctl in the client's host against all witnesses.
func (w *Witnesses) Ctl(ctx context.Context, argv ...string) (string, error) {
	return w.client.Exec(ctx, lab.Command{Argv: append([]string{w.control, "--server", w.URLs()}, argv...)})
}

// status is what GET /v1/status tells that the cases look at.
type status struct {
	Node     string `json:"node"`
	Index    uint64 `json:"index"`
	ReadOnly bool   `json:"read_only"`
	Leader   string `json:"leader"`
	Digest   string `json:"digest"`
}

// Leader returns the witness that a majority calls the leader.
func (w *Witnesses) Leader(ctx context.Context) (*Witness, error) {
	votes := map[string]int{}
	var errs []error
	for _, n := range w.Nodes {
		var s status
		if err := w.get(ctx, n, "/v1/status", &s); err != nil {
			errs = append(errs, err)
			continue
		}
		votes[s.Leader]++
	}
	for _, n := range w.Nodes {
		if votes[n.Name] > len(w.Nodes)/2 {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no leader that a majority agrees on: %v: %w", votes, errors.Join(errs...))
}

// WaitLeader waits for Leader.
func (w *Witnesses) WaitLeader(ctx context.Context) (*Witness, error) {
	var leader *Witness
	err := lab.Until(ctx, bound, "a leader of the witnesses", func(ctx context.Context) error {
		var err error
		leader, err = w.Leader(ctx)
		return err
	})
	return leader, err
}

// get asks one witness, from its own host: an isolated one can be asked too.
func (w *Witnesses) get(ctx context.Context, n *Witness, path string, into any) error {
	client := &http.Client{
		Transport: &http.Transport{DialContext: n.Host.DialContext, DisableKeepAlives: true},
		Timeout:   3 * time.Second,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Host.IP()+":8080"+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", n.Name, path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// Apply declares the nodes' hosts, with their BMCs if there are any, and the cluster.
func (w *Witnesses) Apply(ctx context.Context, c *Cluster, bmcs map[string]*patroni.BMC, policy string) error {
	path := filepath.Join(w.lab.LogDir(), "quorate.yaml")
	if err := os.WriteFile(path, []byte(manifest(c, bmcs, policy)), 0o644); err != nil {
		return err
	}
	_, err := w.Ctl(ctx, "apply", "-f", path, "--by", "the laboratory", "--reason", "set-up")
	return err
}

// manifest declares hosts h1, h2, … for the nodes n1, n2, …; policy is more
// lines of the cluster, and "none" leaves the cluster out.
func manifest(c *Cluster, bmcs map[string]*patroni.BMC, policy string) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("sites: [{name: site1}, {name: site2}, {name: site3}]\nhosts:")
	for _, n := range c.Nodes {
		fence := ""
		if bmcs[n.Name] != nil {
			fence = fmt.Sprintf(", fence: [{level: 1, device: bmc-%s}]", n.Name)
		}
		add("- {name: %s, site: site1, addresses: [%s]%s}", n.Name, n.Host.IP(), fence)
	}
	if len(bmcs) > 0 {
		add("devices:")
	}
	for _, n := range c.Nodes {
		if bmc := bmcs[n.Name]; bmc != nil {
			add("- {name: bmc-%s, driver: redfish, settings: {url: %q, username: %s, password: %s, cert_sha256: %q}}",
				n.Name, bmc.URL, patroni.BMCUser, patroni.BMCPassword, bmc.Fingerprint)
		}
	}
	if policy == noCluster {
		return b.String()
	}
	add("clusters:\n- name: %s\n  kind: corosync\n  members:", clusterName)
	for _, n := range c.Nodes {
		add("  - {name: %s, host: %s, node: %d}", n.Name, n.Name, n.ID)
	}
	if policy != "" {
		add("%s", policy)
	}
	return b.String()
}

// noCluster declares the hosts alone.
const noCluster = "none"

// WaitServed waits until a witness serves the quorum device.
func (w *Witnesses) WaitServed(ctx context.Context, n *Witness) error {
	return lab.Until(ctx, bound, n.Name+" to serve the quorum device", func(ctx context.Context) error {
		conn, err := n.Host.DialContext(ctx, "tcp", n.Host.IP()+":5403")
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Event is one line of what happened, as the witnesses recorded it.
type Event struct {
	Index   uint64 `json:"index"`
	Kind    string `json:"kind"`
	Cluster string `json:"cluster"`
	Host    string `json:"host"`
	Text    string `json:"text"`
}

// Events returns what the witnesses have recorded, the oldest first.
func (w *Witnesses) Events(ctx context.Context) ([]Event, error) {
	var body struct {
		Events []Event `json:"events"`
	}
	leader, err := w.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return body.Events, w.get(ctx, leader, "/v1/events?since=-500", &body)
}
