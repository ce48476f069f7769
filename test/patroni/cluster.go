package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quorate/test/lab"
	"quorate/test/probe"
)

const (
	// scope and namespace are where the cluster keeps its keys in the store.
	scope     = "demo"
	namespace = "service"

	restPort     = "8008"
	postgresPort = "5432"
	postgresUser = "postgres"

	// healthyBound is generous: three PostgreSQL start on a loaded machine.
	healthyBound = 120 * time.Second
)

// Settings are the parts of Patroni's configuration that the cases vary.
type Settings struct {
	// Endpoints are host:port of the store's nodes.
	Endpoints []string
	// Failsafe turns Patroni's failsafe_mode on.
	Failsafe bool
}

// Cluster is three hosts with Patroni and PostgreSQL.
type Cluster struct {
	Members []*Member

	lab      *lab.Lab
	client   *lab.Host
	rest     *http.Client
	settings Settings
}

// Member is one database host.
type Member struct {
	Name string
	Host *lab.Host

	dir    string
	config string
}

// SocketDir is the directory of the member's PostgreSQL socket.
func (m *Member) SocketDir() string { return filepath.Join(m.dir, "sock") }

// dsn connects to the member's PostgreSQL by its socket.
func (m *Member) dsn() string {
	return "host=" + m.SocketDir() + " port=" + postgresPort + " user=" + postgresUser + " dbname=postgres"
}

// NewCluster makes the hosts db1, db2, db3 and their configuration; client is
// the host from which the cluster is looked at. Nothing is started.
func NewCluster(ctx context.Context, l *lab.Lab, client *lab.Host, s Settings) (*Cluster, error) {
	c := &Cluster{lab: l, client: client, settings: s, rest: &http.Client{
		Transport: &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true},
		Timeout:   3 * time.Second,
	}}
	for i := 1; i <= 3; i++ {
		host, err := l.Host(ctx, fmt.Sprintf("db%d", i), fmt.Sprintf("10.77.0.%d", 20+i))
		if err != nil {
			return nil, err
		}
		m := &Member{Name: fmt.Sprintf("pg%d", i), Host: host, dir: filepath.Join(l.DataDir(), host.Name())}
		m.config = filepath.Join(m.dir, "patroni.yml")
		if err := m.prepare(s); err != nil {
			return nil, err
		}
		c.Members = append(c.Members, m)
	}
	return c, nil
}

func (m *Member) prepare(s Settings) error {
	account, err := user.Lookup(postgresUser)
	if err != nil {
		return fmt.Errorf("%w: run test/install.sh first", err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
	}
	for _, dir := range []string{m.dir, m.SocketDir()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	return os.WriteFile(m.config, []byte(m.yaml(s)), 0o644)
}

// Start starts Patroni on a member; Patroni starts PostgreSQL.
func (c *Cluster) Start(m *Member) error {
	_, err := m.Host.Start(lab.Command{
		Name: "patroni", User: postgresUser, Dir: m.dir,
		Env:  []string{"PATRONI_LOG_LEVEL=INFO"},
		Argv: []string{"/usr/bin/python3", "/usr/bin/patroni", m.config},
	})
	return err
}

// Bootstrap starts the first member, waits until it leads, starts the others and
// waits until the cluster is healthy and has the probes' tables.
func (c *Cluster) Bootstrap(ctx context.Context) error {
	if err := c.Start(c.Members[0]); err != nil {
		return err
	}
	err := lab.Until(ctx, healthyBound, "the first leader", func(ctx context.Context) error {
		_, err := c.Leader(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range c.Members[1:] {
		if err := c.Start(m); err != nil {
			return err
		}
	}
	if err := c.WaitHealthy(ctx); err != nil {
		return err
	}
	return c.query(ctx, c.Members[0], probe.Schema)
}

// query runs statements on a member as its superuser.
func (c *Cluster) query(ctx context.Context, m *Member, sql string) error {
	conn, err := pgx.Connect(ctx, m.dsn())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// view is what Patroni's GET /cluster tells of one member.
type view struct {
	Name     string          `json:"name"`
	Role     string          `json:"role"`
	State    string          `json:"state"`
	Timeline int64           `json:"timeline"`
	Lag      json.RawMessage `json:"lag"`
}

// Leader returns the member that its own Patroni says leads: GET /leader is 200
// only there. It fails if none does, or more than one.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	var leaders []*Member
	var errs []error
	for _, m := range c.Members {
		status, err := c.get(ctx, m, "/leader", nil)
		if err != nil {
			errs = append(errs, err)
		}
		if status == http.StatusOK {
			leaders = append(leaders, m)
		}
	}
	if len(leaders) != 1 {
		return nil, fmt.Errorf("%d of the members say they lead: %w", len(leaders), errors.Join(errs...))
	}
	return leaders[0], nil
}

// WaitHealthy waits until one member leads and the two others run as its
// replicas on the same timeline and stream its log. Patroni alone reports a
// replica as running without lag before its stream has begun; a switchover to
// such a replica loses rows (seen with 3.0.2).
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	return lab.Until(ctx, healthyBound, "a healthy Patroni cluster", func(ctx context.Context) error {
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		var answer struct {
			Members []view `json:"members"`
		}
		if _, err := c.get(ctx, leader, "/cluster", &answer); err != nil {
			return err
		}
		if err := checkHealthy(answer.Members, len(c.Members)); err != nil {
			return err
		}
		return c.checkStreams(ctx, leader)
	})
}

// checkStreams asks the leader's PostgreSQL whether every other member streams
// and has applied all but the last moments.
func (c *Cluster) checkStreams(ctx context.Context, leader *Member) error {
	conn, err := pgx.Connect(ctx, leader.dsn())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT application_name FROM pg_stat_replication
		WHERE state = 'streaming' AND pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) < 65536`)
	if err != nil {
		return err
	}
	streaming, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(streaming) != len(c.Members)-1 {
		return fmt.Errorf("only %v stream from %s", streaming, leader.Name)
	}
	return nil
}

func checkHealthy(members []view, want int) error {
	var leaders, replicas []string
	var timeline int64
	for _, m := range members {
		if m.Role == "leader" {
			leaders = append(leaders, m.Name)
			timeline = m.Timeline
		}
	}
	for _, m := range members {
		if m.Role == "replica" && (m.State == "running" || m.State == "streaming") &&
			m.Timeline == timeline && string(m.Lag) == "0" {
			replicas = append(replicas, m.Name)
		}
	}
	if len(leaders) != 1 || len(replicas) != want-1 {
		b, _ := json.Marshal(members)
		return fmt.Errorf("leaders %v, replicas in step %v: %s", leaders, replicas, b)
	}
	return nil
}

// Member returns the member of this name.
func (c *Cluster) Member(name string) (*Member, error) {
	for _, m := range c.Members {
		if m.Name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no member %q", name)
}

// Replica returns a member that is not the given one.
func (c *Cluster) Replica(not *Member) *Member {
	for _, m := range c.Members {
		if m != not {
			return m
		}
	}
	return nil
}

// Targets are the members for the probe of two writers.
func (c *Cluster) Targets() []probe.Target {
	var targets []probe.Target
	for _, m := range c.Members {
		targets = append(targets, probe.Target{Name: m.Name, SocketDir: m.SocketDir(), Port: postgresPort})
	}
	return targets
}

// IPs are the members' addresses.
func (c *Cluster) IPs() []string {
	var ips []string
	for _, m := range c.Members {
		ips = append(ips, m.Host.IP())
	}
	return ips
}

// Patronictl runs Debian's patronictl in the client's host.
func (c *Cluster) Patronictl(ctx context.Context, argv ...string) (string, error) {
	return c.client.Exec(ctx, lab.Command{
		User: postgresUser, Env: []string{"LC_ALL=C.UTF-8"},
		Argv: append([]string{"/usr/bin/python3", "/usr/bin/patronictl", "-c", c.Members[0].config}, argv...),
	})
}

// get reads one path of a member's REST interface into into, unless that is nil.
func (c *Cluster) get(ctx context.Context, m *Member, path string, into any) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Host.IP()+":"+restPort+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.rest.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if into == nil {
		return response.StatusCode, nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return response.StatusCode, fmt.Errorf("%s%s: %w", m.Name, path, err)
	}
	return response.StatusCode, nil
}

// list renders addresses for YAML's flow style.
func list(items []string) string { return "[" + strings.Join(items, ", ") + "]" }
