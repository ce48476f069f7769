package pacemaker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"quorate/test/lab"
)

// Qnetd is a stock corosync-qnetd on a host of its own.
type Qnetd struct {
	Host *lab.Host

	process *lab.Process
}

// NewQnetd makes the host q<i> and starts corosync-qnetd there, without TLS.
func NewQnetd(ctx context.Context, l *lab.Lab, i int) (*Qnetd, error) {
	host, err := l.Host(ctx, fmt.Sprintf("q%d", i), fmt.Sprintf("10.77.0.%d", 40+i))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.DataDir(), host.Name())
	if err := os.MkdirAll(dir+"/etc-corosync/qnetd", 0o755); err != nil {
		return nil, err
	}
	err = host.Boot(ctx, fmt.Sprintf(`mount --bind %s/etc-corosync /etc/corosync
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/corosync-qnetd`, dir))
	if err != nil {
		return nil, err
	}
	q := &Qnetd{Host: host}
	return q, q.Start(ctx)
}

// Start starts the server and waits until it listens.
func (q *Qnetd) Start(ctx context.Context) error {
	var err error
	q.process, err = q.Host.Start(lab.Command{Name: "qnetd", Argv: []string{"corosync-qnetd", "-f", "-d", "-s", "off"}})
	if err != nil {
		return err
	}
	return lab.Until(ctx, bound, "corosync-qnetd to listen", func(ctx context.Context) error {
		conn, err := q.Host.DialContext(ctx, "tcp", q.Host.IP()+":5403")
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Kill kills the server; its host refuses connections from then on.
func (q *Qnetd) Kill() {
	q.process.Kill()
	<-q.process.Done()
}
