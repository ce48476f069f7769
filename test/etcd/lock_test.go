//go:build integration

package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"quorate/test/lab"
)

const (
	// killEvery is the time between two kills of the leader.
	killEvery = 10 * time.Second
	kills     = 4
	lockTTL   = 20 // seconds: a session must survive an election under load
)

// counter is a value that is raised by read and write, without a transaction:
// only mutual exclusion keeps it from losing a step.
const counter = "/count"

// TestLocksWhileLeadersDie runs clientv3's own Mutex, Election and STM, and
// Debian's etcdctl lock, while the leader is killed again and again: never two
// holders, and everybody gets on.
func TestLocksWhileLeadersDie(t *testing.T) {
	c := witnesses(t, newLab(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	users := map[string]func(context.Context, *user) error{"mutex": mutex, "election": election, "stm": stm}
	all := map[string]*locks{}
	var work sync.WaitGroup
	for name, use := range users {
		l := &locks{c: c, name: name}
		all[name] = l
		for i := range 3 {
			work.Go(func() {
				for ctx.Err() == nil {
					// Each user prefers another node, and has the others to turn to.
					order := slices.Concat(c.endpoints()[i:], c.endpoints()[:i])
					l.session(ctx, order, func(u *user) error { return use(ctx, u) })
				}
			})
		}
	}
	shell := &locks{c: c, name: "etcdctl lock"}
	all[shell.name] = shell
	for range 2 {
		work.Go(func() { shell.etcdctl(ctx) })
	}
	before := map[string]int64{}
	for i := range max(kills, kills*soakRounds()) {
		c.sleep(killEvery / 2)
		n := c.waitLeader()
		c.kill(n)
		c.sleep(killEvery / 2)
		c.start(n)
		for name, l := range all {
			now := l.done.Load()
			if now == before[name] {
				t.Logf("%s: no progress around kill %d", name, i)
			}
			before[name] = now
		}
	}
	c.waitLeader()
	for name, l := range all {
		then := l.done.Load()
		if err := lab.Until(t.Context(), healthy, name, func(context.Context) error {
			if l.done.Load() == then {
				return errors.New("no progress after the last kill")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	work.Wait()
	for name, l := range all {
		t.Logf("%s: %d times, %d failures", name, l.done.Load(), l.failures.Load())
		if err := l.last.Load(); err != nil {
			t.Logf("%s: the last failure: %.300s", name, *err)
		}
	}
	c.checkCounter(all)
}

// checkCounter compares the counters with what was acknowledged. A step whose
// answer was lost may have happened.
func (c *cluster) checkCounter(all map[string]*locks) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cli := c.dial(c.client, c.endpoints()...)
	for _, name := range []string{"mutex", "stm"} {
		resp, err := cli.Get(ctx, counter+"/"+name)
		if err != nil {
			c.t.Error(err)
			continue
		}
		n := number(resp)
		l := all[name]
		if least, most := l.done.Load(), l.done.Load()+l.unknown.Load(); n < least || n > most {
			c.t.Errorf("%s: the counter is %d, but %d steps were acknowledged and %d are of unknown outcome", name, n, least, l.unknown.Load())
		}
	}
}

func number(resp *clientv3.GetResponse) int64 {
	if len(resp.Kvs) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(resp.Kvs[0].Value), 10, 64) // the test itself wrote it
	return n
}

// locks is one kind of lock with what became of it.
type locks struct {
	c    *cluster
	name string

	done, unknown atomic.Int64 // steps under the lock: acknowledged, without an answer
	holders       atomic.Int32
	failures      atomic.Int64
	last          atomic.Pointer[error] // the last failure, to look at
}

// user is one that uses a lock in a session.
type user struct {
	*locks
	cli *clientv3.Client
	s   *concurrency.Session
}

// session makes a session and uses it until it ends or use returns.
func (l *locks) session(ctx context.Context, endpoints []string, use func(*user) error) {
	cli := l.c.dial(l.c.client, endpoints...)
	defer cli.Close()
	s, err := concurrency.NewSession(cli, concurrency.WithTTL(lockTTL), concurrency.WithContext(ctx))
	if err != nil {
		l.c.sleep(200 * time.Millisecond)
		return
	}
	u := &user{locks: l, cli: cli, s: s}
	for ctx.Err() == nil {
		select {
		case <-s.Done():
			return
		default:
		}
		if err := use(u); err != nil && ctx.Err() == nil {
			l.failures.Add(1)
			l.last.Store(&err)
			l.c.sleep(100 * time.Millisecond)
		}
	}
	_ = s.Close() // the lease ends by itself otherwise
}

// held runs f while this user believes that it alone holds the lock. A holder
// whose session has ended knows that it holds nothing; who finds another one
// there while its own session lives has found a fault.
func (u *user) held(f func()) {
	if n := u.holders.Add(1); n != 1 {
		u.c.t.Errorf("%s: %d holders at once", u.name, n)
	}
	f()
	u.holders.Add(-1)
}

// raise adds one to the counter by a read and a separate write. The write
// carries the proof that the lock is still held, as a fencing token would.
func (u *user) raise(ctx context.Context, owner clientv3.Cmp) {
	key := counter + "/" + u.name
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	resp, err := u.cli.Get(ctx, key)
	if err != nil {
		return
	}
	txn, err := u.cli.Txn(ctx).If(owner).Then(clientv3.OpPut(key, strconv.FormatInt(number(resp)+1, 10))).Commit()
	switch {
	case err != nil:
		u.unknown.Add(1)
	case txn.Succeeded:
		u.done.Add(1)
	}
}

func mutex(ctx context.Context, u *user) error {
	m := concurrency.NewMutex(u.s, "/mutex")
	if err := m.Lock(ctx); err != nil {
		return err
	}
	u.held(func() { u.raise(context.WithoutCancel(ctx), m.IsOwner()) })
	return unlock(ctx, m.Unlock)
}

func election(ctx context.Context, u *user) error {
	e := concurrency.NewElection(u.s, "/election")
	if err := e.Campaign(ctx, strconv.FormatInt(int64(u.s.Lease()), 16)); err != nil {
		return err
	}
	u.held(func() {
		call, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		resp, err := e.Leader(call)
		switch {
		case err != nil:
		case string(resp.Kvs[0].Value) != strconv.FormatInt(int64(u.s.Lease()), 16):
			u.c.t.Errorf("election: %x was elected, but the leader is %s", u.s.Lease(), resp.Kvs[0].Value)
		default:
			u.done.Add(1)
		}
	})
	return unlock(ctx, e.Resign)
}

// stm moves between two accounts whose sum must stay, and counts.
func stm(ctx context.Context, u *user) error {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	key := counter + "/stm"
	_, err := concurrency.NewSTM(u.cli, func(s concurrency.STM) error {
		a, _ := strconv.Atoi(s.Get("/account/a")) // "" is 0
		b, _ := strconv.Atoi(s.Get("/account/b"))
		if a+b != 0 {
			u.c.t.Errorf("stm: the accounts are %d and %d", a, b)
		}
		n, _ := strconv.Atoi(s.Get(key))
		s.Put("/account/a", strconv.Itoa(a+n))
		s.Put("/account/b", strconv.Itoa(b-n))
		s.Put(key, strconv.Itoa(n+1))
		return nil
	}, concurrency.WithIsolation(concurrency.SerializableSnapshot), concurrency.WithAbortContext(call))
	if err != nil {
		u.unknown.Add(1)
		return err
	}
	u.done.Add(1)
	u.c.sleep(5 * time.Millisecond)
	return nil
}

// unlock gives a lock back and insists: without an answer it would be held
// until the session ends.
func unlock(ctx context.Context, release func(context.Context) error) error {
	for {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		err := release(call)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// etcdctl takes the lock with Debian's etcdctl and makes a directory, which
// fails if there is one: the lock's own proof that nobody else is inside.
func (l *locks) etcdctl(ctx context.Context) {
	dir := filepath.Join(l.c.lab.DataDir(), "locked")
	for ctx.Err() == nil {
		out, err := l.c.client.Exec(ctx, lab.Command{
			Env: []string{"ETCDCTL_API=3"},
			Argv: []string{
				"/usr/bin/etcdctl", "--endpoints", strings.Join(l.c.endpoints(), ","), "lock", "--ttl", strconv.Itoa(lockTTL), "--", "shell",
				"sh", "-c", "mkdir " + dir + " || { echo BROKEN; exit; }; sleep 0.1; rmdir " + dir + "; echo HELD",
			},
		})
		switch {
		case strings.Contains(out, "BROKEN"):
			l.c.t.Errorf("etcdctl lock: two holders at once: %s", out)
		case strings.Contains(out, "HELD"):
			l.done.Add(1)
		case ctx.Err() == nil:
			l.failures.Add(1)
			l.last.Store(&err)
			l.c.sleep(200 * time.Millisecond)
		}
	}
}
