package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// The settings of the simulated cluster, in Patroni's words.
const (
	scopePrefix = "/service/demo/"
	ttl         = 20 // seconds
	loopWait    = 2 * time.Second
	apiPort     = "8008"
	dbPort      = "5432"
)

// member is one simulated database server on a host of its own.
type member struct {
	name      string
	addr      string   // loopback address of its host
	endpoints []string // etcd URLs of the witnesses
	rows      *atomic.Int64

	mu      sync.Mutex
	primary bool
	lease   clientv3.LeaseID
}

// run is the life of the host: everything on it ends with ctx, as by a power
// loss.
func (m *member) run(ctx context.Context) error {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(m.addr)}}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: m.endpoints, DialTimeout: 2 * time.Second, Logger: zap.NewNop(), Context: ctx,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", addr)
		})},
	})
	if err != nil {
		return fmt.Errorf("%s: connect to the witnesses: %w", m.name, err)
	}
	defer func() { _ = cli.Close() }()
	stop, err := m.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer m.setPrimary(false)
	watch := cli.Watch(ctx, scopePrefix+"leader")
	for {
		cctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		m.cycle(cctx, cli)
		cancel()
		timer := time.NewTimer(loopWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case _, ok := <-watch:
			if !ok {
				watch = cli.Watch(ctx, scopePrefix+"leader")
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// cycle is one turn of the member's loop: renew, report, look at the leader
// key, race for it if nobody has it.
func (m *member) cycle(ctx context.Context, cli *clientv3.Client) {
	if err := m.renew(ctx, cli); err != nil {
		return // the lease decides; without the witnesses nothing changes here
	}
	m.report(ctx, cli)
	key := scopePrefix + "leader"
	res, err := cli.Get(ctx, key)
	if err != nil {
		return
	}
	wanted, err := m.wanted(ctx, cli)
	if err != nil {
		return
	}
	if len(res.Kvs) > 0 {
		holds := string(res.Kvs[0].Value) == m.name
		if holds && wanted == m.name {
			_, _ = cli.Delete(ctx, scopePrefix+"failover") // done
		}
		if holds && wanted != "" && wanted != m.name {
			m.setPrimary(false) // first read-only, then the key
			_, _ = cli.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", res.Kvs[0].ModRevision)).
				Then(clientv3.OpDelete(key)).Commit()
			return
		}
		m.setPrimary(holds)
		return
	}
	m.setPrimary(false)
	if wanted != "" && wanted != m.name {
		return // it is somebody else's turn
	}
	txn, err := cli.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, m.name, clientv3.WithLease(m.lease))).Commit()
	if err == nil && txn.Succeeded {
		m.setPrimary(true)
		m.report(ctx, cli)
	}
}

// wanted returns the member that a switchover asks for, or "".
func (m *member) wanted(ctx context.Context, cli *clientv3.Client) (string, error) {
	res, err := cli.Get(ctx, scopePrefix+"failover")
	if err != nil || len(res.Kvs) == 0 {
		return "", err
	}
	var doc struct {
		Member string `json:"member"`
	}
	if json.Unmarshal(res.Kvs[0].Value, &doc) != nil {
		return "", nil
	}
	return doc.Member, nil
}

func (m *member) renew(ctx context.Context, cli *clientv3.Client) error {
	if m.lease != 0 {
		if _, err := cli.KeepAliveOnce(ctx, m.lease); err == nil {
			return nil
		}
	}
	grant, err := cli.Grant(ctx, ttl)
	if err != nil {
		return err
	}
	m.lease = grant.ID
	return nil
}

// report writes the member key, and as primary the position.
func (m *member) report(ctx context.Context, cli *clientv3.Client) {
	role := "replica"
	if m.isPrimary() {
		role = "master"
		_, _ = cli.Put(ctx, scopePrefix+"status", fmt.Sprintf(`{"optime":%d}`, m.rows.Load()))
	}
	doc, err := json.Marshal(map[string]any{
		"role": role, "state": "running", "version": "3.0.2", "timeline": 1, "xlog_location": m.rows.Load(),
		"api_url":  "http://" + net.JoinHostPort(m.addr, apiPort) + "/patroni",
		"conn_url": "postgres://" + net.JoinHostPort(m.addr, dbPort) + "/postgres",
	})
	if err == nil {
		_, _ = cli.Put(ctx, scopePrefix+"members/"+m.name, string(doc), clientv3.WithLease(m.lease))
	}
}

// serve opens the member's two ports: the REST API and the "database", which
// takes a row by HTTP POST while the member is primary.
func (m *member) serve(ctx context.Context) (stop func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /row", func(w http.ResponseWriter, _ *http.Request) {
		if !m.isPrimary() {
			http.Error(w, "read-only: this member is a replica", http.StatusServiceUnavailable)
			return
		}
		m.rows.Add(1)
		_, _ = w.Write([]byte(m.name))
	})
	var servers []*http.Server
	stop = func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}
	for _, port := range []string{apiPort, dbPort} {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(m.addr, port))
		if err != nil {
			stop()
			return nil, fmt.Errorf("%s cannot listen: %w", m.name, err)
		}
		srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		servers = append(servers, srv)
		go func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				panic(fmt.Sprintf("demo: %s stopped serving: %v", m.name, err))
			}
		}()
	}
	return stop, nil
}

func (m *member) isPrimary() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.primary
}

func (m *member) setPrimary(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.primary = yes
}
