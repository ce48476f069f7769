package patroni

import (
	"strconv"
	"strings"
)

// The times that both stores are compared with.
const (
	ttlSeconds   = 20
	loopSeconds  = 5
	retrySeconds = 5
)

// configTemplate is Patroni's configuration; only the store's endpoints differ
// between etcd and the witnesses. Neither initdb nor PostgreSQL syncs its files:
// hosts lose their processes here, never their page cache.
const configTemplate = `
scope: SCOPE
namespace: /NAMESPACE/
name: NAME
restapi:
  listen: IP:8008
  connect_address: IP:8008
etcd3:
  hosts: ENDPOINTS
bootstrap:
  dcs:
    ttl: TTL
    loop_wait: LOOP
    retry_timeout: RETRY
    maximum_lag_on_failover: 1048576
    failsafe_mode: FAILSAFE
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        wal_level: replica
        hot_standby: "on"
        max_connections: 50
        max_wal_senders: 8
        max_replication_slots: 8
        wal_keep_size: 128MB
        wal_log_hints: "on"
  initdb:
  - encoding: UTF8
  - data-checksums
  - no-sync
  - auth: trust
postgresql:
  listen: IP:5432
  connect_address: IP:5432
  use_unix_socket: true
  data_dir: DIR/data
  bin_dir: /usr/lib/postgresql/15/bin
  pgpass: DIR/pgpass
  basebackup:
  - checkpoint: fast
  - no-sync
  pg_hba:
  - local all all trust
  - host all all 10.77.0.0/24 trust
  - host replication replicator 10.77.0.0/24 trust
  authentication:
    superuser: {username: postgres, password: pgpass}
    replication: {username: replicator, password: replpass}
    rewind: {username: rewinder, password: rewpass}
  parameters:
    unix_socket_directories: DIR/sock
    shared_buffers: 32MB
    fsync: "off"
tags: {nofailover: false, noloadbalance: false, clonefrom: false, nosync: false}
watchdog:
  mode: "off"
`

// yaml is the member's configuration file.
func (m *Member) yaml(s Settings) string {
	failsafe := "false"
	if s.Failsafe {
		failsafe = "true"
	}
	return strings.NewReplacer(
		"SCOPE", scope, "NAMESPACE", namespace, "NAME", m.Name,
		"IP", m.Host.IP(), "DIR", m.dir, "ENDPOINTS", list(s.Endpoints), "FAILSAFE", failsafe,
		"TTL", strconv.Itoa(ttlSeconds), "LOOP", strconv.Itoa(loopSeconds), "RETRY", strconv.Itoa(retrySeconds),
	).Replace(configTemplate)
}
