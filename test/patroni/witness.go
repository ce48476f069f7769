package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quorate/test/lab"
)

// Witnesses is three witnessd, each in a host of its own.
type Witnesses struct {
	Nodes []*Witness

	lab     *lab.Lab
	client  *lab.Host
	daemon  string // path of witnessd
	control string // path of witnessctl
}

// Witness is one witnessd.
type Witness struct {
	Name string // a new one after its disk was lost
	Host *lab.Host
	Site string

	dir string
}

// NewWitnesses makes the hosts w1, w2, w3, starts witnessd on them, and waits
// until they have a leader.
func NewWitnesses(ctx context.Context, l *lab.Lab, client *lab.Host, daemon, control string) (*Witnesses, error) {
	w := &Witnesses{lab: l, client: client, daemon: daemon, control: control}
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("w%d", i)
		host, err := l.Host(ctx, name, fmt.Sprintf("10.77.0.%d", 10+i))
		if err != nil {
			return nil, err
		}
		w.Nodes = append(w.Nodes, &Witness{
			Name: name, Host: host, Site: fmt.Sprintf("site%d", i), dir: filepath.Join(l.DataDir(), name),
		})
	}
	for _, n := range w.Nodes {
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			return nil, err
		}
		if err := w.configure(n, false); err != nil {
			return nil, err
		}
		if err := w.Start(n); err != nil {
			return nil, err
		}
	}
	_, err := w.WaitLeader(ctx)
	return w, err
}

// configure writes a witness's own configuration. One that joins belongs to no
// cluster yet and waits to be added.
func (w *Witnesses) configure(n *Witness, join bool) error {
	var peers []string
	for _, p := range w.Nodes {
		peers = append(peers, p.Name+": \""+p.Host.IP()+":7400\"")
	}
	first := "peers: {" + strings.Join(peers, ", ") + "}"
	if join {
		first = "join: true"
	}
	ip := n.Host.IP()
	text := fmt.Sprintf(`node: %s
site: %s
data: %s
%s
peer: {listen: "%s:7400", advertise: "%s:7400"}
etcd: {listen: "%s:2379", advertise: "http://%s:2379"}
dns:  {listen: "%s:53"}
http: {listen: "%s:8080", advertise: "http://%s:8080"}
`, n.Name, n.Site, filepath.Join(n.dir, "data"), first, ip, ip, ip, ip, ip, ip, ip)
	return os.WriteFile(filepath.Join(n.dir, "witnessd.yaml"), []byte(text), 0o644)
}

// Start starts a witness on the data that it has.
func (w *Witnesses) Start(n *Witness) error {
	_, err := n.Host.Start(lab.Command{Argv: []string{w.daemon, "--config", filepath.Join(n.dir, "witnessd.yaml")}})
	return err
}

// Wipe removes a stopped witness's data, as a replaced disk does, and configures
// it to join under a new name: the vote of the old one must not be cast twice.
func (w *Witnesses) Wipe(n *Witness, name string) error {
	n.Name = name
	if err := os.RemoveAll(filepath.Join(n.dir, "data")); err != nil {
		return err
	}
	return w.configure(n, true)
}

// Etcd are the addresses at which the witnesses speak etcd's API.
func (w *Witnesses) Etcd() []string { return w.ports("2379") }

// DNS are the addresses of the witnesses' DNS servers.
func (w *Witnesses) DNS() []string { return w.ports("53") }

func (w *Witnesses) ports(port string) []string {
	var addresses []string
	for _, n := range w.Nodes {
		addresses = append(addresses, n.Host.IP()+":"+port)
	}
	return addresses
}

// Status is what GET /v1/status tells that the cases look at.
type Status struct {
	Node     string  `json:"node"`
	Index    uint64  `json:"index"`
	Age      float64 `json:"age"` // seconds since contact with a quorum
	ReadOnly bool    `json:"read_only"`
	Leader   string  `json:"leader"`
	Digest   string  `json:"digest"` // hash of the state
	Members  []struct {
		Name  string `json:"name"`
		Voter bool   `json:"voter"`
	} `json:"members"`
}

// ClusterView is what GET /v1/clusters/{name} tells that the cases look at.
type ClusterView struct {
	State      string `json:"state"` // ok, guarded, held, vacant
	Epoch      uint64 `json:"epoch"`
	Holder     string `json:"holder"`
	Protection string `json:"protection"`
	Members    []struct {
		Name   string `json:"name"`
		Fenced bool   `json:"fenced"`
		Ready  bool   `json:"ready"`
	} `json:"members"`
}

// Voters are the names of the witnesses with a vote, as this one knows them.
func (s Status) Voters() []string {
	var names []string
	for _, m := range s.Members {
		if m.Voter {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Run is the story of one failover or switchover.
type Run struct {
	Kind   string `json:"kind"`
	From   string `json:"from"`
	To     string `json:"to"`
	State  string `json:"state"`
	By     string `json:"by"`
	Reason string `json:"reason"`
	Phases []struct {
		Name  string `json:"name"`
		Index uint64 `json:"index"`
		Wall  int64  `json:"wall"` // Unix milliseconds
		Text  string `json:"text"`
	} `json:"phases"`
}

// Phase returns the index of the entry of the named phase, 0 if there is none.
func (r *Run) Phase(name string) uint64 {
	for _, p := range r.Phases {
		if p.Name == name {
			return p.Index
		}
	}
	return 0
}

// Status asks one witness for its status, seen from the given host: an isolated
// witness can still be asked from its own.
func (w *Witnesses) Status(ctx context.Context, from *lab.Host, n *Witness) (Status, error) {
	var s Status
	return s, w.get(ctx, from, n, "/v1/status", &s)
}

// Cluster asks the witnesses in turn for the database cluster.
func (w *Witnesses) Cluster(ctx context.Context) (ClusterView, error) {
	var body struct {
		Cluster ClusterView `json:"cluster"`
	}
	return body.Cluster, w.getAny(ctx, "/v1/clusters/"+scope+"?consistent=true", &body)
}

// History returns the runs of the database cluster, newest last.
func (w *Witnesses) History(ctx context.Context) ([]Run, error) {
	var body struct {
		Runs []Run `json:"runs"`
	}
	return body.Runs, w.getAny(ctx, "/v1/clusters/"+scope+"/history?consistent=true", &body)
}

// Leader returns the witness that a majority calls the leader.
func (w *Witnesses) Leader(ctx context.Context) (*Witness, error) {
	votes := map[string]int{}
	var errs []error
	for _, n := range w.Nodes {
		s, err := w.Status(ctx, w.client, n)
		if err != nil {
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
	err := lab.Until(ctx, healthyBound, "a leader of the witnesses", func(ctx context.Context) error {
		var err error
		leader, err = w.Leader(ctx)
		return err
	})
	return leader, err
}

func (w *Witnesses) getAny(ctx context.Context, path string, into any) error {
	var errs []error
	for _, n := range w.Nodes {
		err := w.get(ctx, w.client, n, path, into)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *Witnesses) get(ctx context.Context, from *lab.Host, n *Witness, path string, into any) error {
	client := &http.Client{
		Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true},
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
