package etcdapi_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"quorate/witness/etcdapi"
)

var testSecret = []byte("a secret that is long enough for a test")

// guarded has a user for the cluster "demo", one for another cluster, one that only
// reads, one without password, and an administrator.
func guarded(t *testing.T) *etcdapi.Access {
	hash := func(password string) []byte {
		h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	rule := func(prefix string, write bool) []etcdapi.Rule {
		return []etcdapi.Rule{{Prefix: prefix, Read: true, Write: write}}
	}
	return &etcdapi.Access{Secrets: [][]byte{testSecret}, Users: map[string]etcdapi.User{
		"patroni": {PasswordHash: hash("secret"), Rules: rule("/service/demo/", true)},
		"other":   {PasswordHash: hash("secret2"), Rules: rule("/service/other/", true)},
		"viewer":  {PasswordHash: hash("look"), Rules: rule("/service/", false)},
		"pg1":     {Rules: rule("/service/demo/", true)},
		"root":    {PasswordHash: hash("toor"), Admin: true},
	}}
}

func withAccess(a *etcdapi.Access) option { return func(s *etcdapi.Server) { s.Access = a } }

func as(name, password string) func(*clientv3.Config) {
	return func(c *clientv3.Config) { c.Username, c.Password = name, password }
}

// call is a JSON request with a token as Patroni sends it.
func (s *server) call(token, path, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if token != "" {
		req.Header.Set("authorization", token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(raw)
}

func (s *server) token(name, password string) string {
	s.Helper()
	_, o := s.post("/v3/auth/authenticate", `{"name":"`+name+`","password":"`+password+`"}`)
	token, _ := o["token"].(string)
	if token == "" {
		s.Fatalf("no token: %v", o)
	}
	return token
}

func TestPasswordsAndTokensInJSON(t *testing.T) {
	s := start(t, withAccess(guarded(t)))
	for _, c := range []struct{ name, password string }{{"patroni", "wrong"}, {"nobody", "secret"}, {"pg1", ""}, {"", ""}} {
		s.want("/v3/auth/authenticate", `{"name":"`+c.name+`","password":"`+c.password+`"}`, 400,
			`{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password","error":"etcdserver: authentication failed, invalid user ID or password"}`)
	}
	token := s.token("patroni", "secret")
	leader := `{"key":"` + b64("/service/demo/leader") + `"}`
	for _, c := range []struct {
		token, path, body string
		status            int
		text              string
	}{
		{"", "/v3/cluster/member/list", `{}`, 200, "clientURLs"}, // old Patroni asks before it has a token
		{"", "/v3/kv/range", leader, 400, "etcdserver: user name is empty"},
		{"", "/v3/lease/grant", `{"TTL":30}`, 400, "etcdserver: user name is empty"},
		{"", "/v3/lease/keepalive", `{"ID":1}`, 400, "etcdserver: user name is empty"},
		{"", "/v3/watch", `{"create_request":` + leader + `}`, 400, "etcdserver: user name is empty"},
		{"nonsense", "/v3/kv/range", leader, 401, "etcdserver: invalid auth token"},
		{token + "x", "/v3/kv/range", leader, 401, "etcdserver: invalid auth token"},
		{token, "/v3/kv/range", leader, 200, "header"},
		{"Bearer " + token, "/v3/kv/range", leader, 200, "header"},
		{token, "/v3/kv/range", `{"key":"` + b64("/service/other/leader") + `"}`, 403, "etcdserver: permission denied"},
		{token, "/v3/watch", `{"create_request":{"key":"` + b64("/service/other/leader") + `"}}`, 403, "etcdserver: permission denied"},
		{token, "/v3/kv/compaction", `{"revision":1}`, 403, "etcdserver: permission denied"},
		{token, "/v3/maintenance/transfer-leadership", `{"targetID":7}`, 403, "etcdserver: permission denied"},
		{token, "/v3/maintenance/alarm", `{}`, 200, "header"},
		{"", "/v3/maintenance/status", `{}`, 200, "version"},
	} {
		if code, text := s.call(c.token, c.path, c.body); code != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s with token %.12q: %d %s", c.path, c.body, c.token, code, text)
		}
	}
	var got struct {
		Error struct {
			GRPCCode int `json:"grpc_code"`
		} `json:"error"`
	}
	_, text := s.call("nonsense", "/v3/watch", `{"create_request":`+leader+`}`)
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Error.GRPCCode != 16 {
		t.Errorf("a watch with a bad token: %s", text)
	}
}

// A transaction needs the rights of everything in it, in both branches and below.
func TestRightsOfTransactions(t *testing.T) {
	s, ctx := start(t, withAccess(guarded(t))), ctxOf(t)
	c, viewer := s.client(as("patroni", "secret")), s.client(as("viewer", "look"))
	mine, theirs := "/service/demo/x", "/service/other/x"
	if _, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version(mine), "=", 0)).
		Then(clientv3.OpPut(mine, ""), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(mine)}, nil)).Commit(); err != nil {
		t.Fatal(err)
	}
	read, write, nest := clientv3.OpGet(theirs), clientv3.OpPut(theirs, ""), func(op clientv3.Op) clientv3.Op {
		return clientv3.OpTxn(nil, nil, []clientv3.Op{op})
	}
	for name, txn := range map[string]clientv3.Txn{
		"compare":      c.Txn(ctx).If(clientv3.Compare(clientv3.Version(theirs), "=", 0)),
		"read":         c.Txn(ctx).Then(read),
		"else":         c.Txn(ctx).Else(write),
		"nested":       c.Txn(ctx).Then(nest(write)),
		"nested twice": c.Txn(ctx).Then(nest(nest(read))),
		"nested if":    c.Txn(ctx).Then(clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(theirs), "=", 0)}, nil, nil)),
		"range":        c.Txn(ctx).Then(clientv3.OpGet("/service/", clientv3.WithPrefix())),
		"delete":       c.Txn(ctx).Then(clientv3.OpDelete(mine, clientv3.WithFromKey())),
		"viewer":       viewer.Txn(ctx).Then(clientv3.OpPut(mine, "")),
	} {
		if _, err := txn.Commit(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := viewer.Get(ctx, "/service/", clientv3.WithPrefix()); err != nil {
		t.Error(err)
	}
	if _, err := viewer.Delete(ctx, mine); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Error(err)
	}
	if _, err := c.Put(ctx, mine, "", clientv3.WithPrevKV()); err != nil {
		t.Error(err)
	}
}

// To end, to prolong or to burden somebody else's lease is to meddle with a failover.
func TestForeignLeasesAreOutOfReach(t *testing.T) {
	s, ctx := start(t, withAccess(guarded(t))), ctxOf(t)
	mine, other, viewer := s.client(as("patroni", "secret")), s.client(as("other", "secret2")), s.client(as("viewer", "look"))
	l, err := mine.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Put(ctx, "/service/demo/leader", "pg1", clientv3.WithLease(l.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.KeepAliveOnce(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"keepalive": func() error { _, err := other.KeepAliveOnce(ctx, l.ID); return err },
		"by viewer": func() error { _, err := viewer.KeepAliveOnce(ctx, l.ID); return err },
		"revoke":    func() error { _, err := other.Revoke(ctx, l.ID); return err },
		"keys":      func() error { _, err := other.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys()); return err },
		"put":       func() error { _, err := other.Put(ctx, "/service/other/x", "", clientv3.WithLease(l.ID)); return err },
	} {
		if err := do(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := mine.Revoke(ctx, l.ID); err != nil {
		t.Error(err)
	}
}

func TestWatchNeedsTheRightToRead(t *testing.T) {
	s, ctx := start(t, withAccess(guarded(t))), ctxOf(t)
	c := s.client(as("patroni", "secret"))
	ok := c.Watch(ctx, "/service/demo/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	next(t, ok)
	if r := next(t, c.Watch(ctx, "/service/", clientv3.WithPrefix())); !r.Canceled || !strings.Contains(r.Err().Error(), "permission denied") {
		t.Fatalf("%+v %v", r, r.Err())
	}
	if _, err := c.Put(ctx, "/service/demo/a", ""); err != nil {
		t.Fatal(err)
	}
	if r := next(t, ok); len(r.Events) != 1 {
		t.Fatalf("the refused watch has disturbed the other: %+v", r)
	}
	raw := s.rawWatch(ctx)
	raw.create(&pb.WatchCreateRequest{Key: []byte("/service/demo/a")})
	if r := raw.recv(); !r.Created || !r.Canceled || r.CancelReason != rpctypes.ErrGRPCUserEmpty.Error() {
		t.Fatal(r)
	}
}

// Every node takes the tokens of every other; a new secret or password does not break
// renewals, which old Patronis do not repeat with a new token.
func TestTokensAcrossNodesAndTime(t *testing.T) {
	first := guarded(t)
	first.TokenTTL = time.Nanosecond // expires with the second
	old := guarded(t)
	rotated := guarded(t)
	rotated.Secrets = [][]byte{[]byte("the new secret, which signs from now on"), testSecret}
	foreign := guarded(t)
	foreign.Secrets = [][]byte{[]byte("a secret of another cluster altogether")}
	hash := old.Users["patroni"].PasswordHash
	for _, a := range []*etcdapi.Access{first, rotated, foreign} {
		u := a.Users["patroni"]
		u.PasswordHash = hash // as in the one file of a cluster
		a.Users["patroni"] = u
	}
	s1, s2, s3, s4 := start(t, withAccess(first)), start(t, withAccess(old)), start(t, withAccess(rotated)), start(t, withAccess(foreign))
	key := `{"key":"` + b64("/service/demo/leader") + `"}`
	token := s2.token("patroni", "secret")
	for name, want := range map[*server]int{s1: 200, s2: 200, s3: 200, s4: 401} {
		if code, text := name.call(token, "/v3/kv/range", key); code != want {
			t.Errorf("%d %s, want %d", code, text, want)
		}
	}
	if code, _ := s2.call(s3.token("patroni", "secret"), "/v3/kv/range", key); code != 401 {
		t.Errorf("a token of a secret that this node does not have: %d", code)
	}
	short := s1.token("patroni", "secret")
	eventually(t, "the token has expired", func() bool { code, _ := s1.call(short, "/v3/kv/range", key); return code == 401 })
	if code, text := s1.call(short, "/v3/lease/keepalive", `{"ID":"1"}`); code != 200 {
		t.Errorf("renewal with an expired token: %d %s", code, text)
	}
	changed := guarded(t) // another salt: as if the password had been changed
	s5 := start(t, withAccess(changed))
	if code, _ := s5.call(token, "/v3/kv/range", key); code != 401 {
		t.Errorf("a token of the old password: %d", code)
	}
	if code, _ := s5.call(token, "/v3/lease/keepalive", `{"ID":"1"}`); code != 200 {
		t.Errorf("renewal with a token of the old password: %d", code)
	}
	delete(changed.Users, "patroni")
	s6 := start(t, withAccess(changed))
	if code, _ := s6.call(token, "/v3/lease/keepalive", `{"ID":"1"}`); code != 401 {
		t.Errorf("renewal by a user who was removed: %d", code)
	}
}

// pki is a certificate authority with a server certificate for loopback.
type pki struct {
	*testing.T
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	pool   *x509.CertPool
	serial int64
}

func newPKI(t *testing.T) *pki {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{T: t, key: key, pool: x509.NewCertPool(), serial: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "test CA"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.pool.AddCert(p.ca)
	return p
}

func (p *pki) issue(name string) tls.Certificate {
	p.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.Fatal(err)
	}
	p.serial++
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(p.serial), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, p.ca, &key.PublicKey, p.key)
	if err != nil {
		p.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// The common name of a certificate is the user, for gRPC and for JSON clients, and
// nothing that a client writes into its request can pretend to be one.
func TestCertificatesAreUsers(t *testing.T) {
	p := newPKI(t)
	s, ctx := start(t, withAccess(guarded(t)), withTLS(&tls.Config{
		Certificates: []tls.Certificate{p.issue("witness")}, ClientCAs: p.pool, ClientAuth: tls.VerifyClientCertIfGiven,
	})), ctxOf(t)
	conf := func(certs ...tls.Certificate) *tls.Config { return &tls.Config{RootCAs: p.pool, Certificates: certs} }
	client := func(c *tls.Config) *clientv3.Client {
		return s.client(func(cfg *clientv3.Config) { cfg.TLS, cfg.Endpoints = c, []string{"https://" + s.addr} })
	}
	pg1 := client(conf(p.issue("pg1")))
	if _, err := pg1.Put(ctx, "/service/demo/x", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := pg1.Put(ctx, "/service/other/x", ""); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Fatal(err)
	}
	ch := pg1.Watch(ctx, "/service/demo/", clientv3.WithPrefix(), clientv3.WithRev(2))
	if r := next(t, ch); len(r.Events) != 1 {
		t.Fatalf("%+v", r)
	}
	l, err := pg1.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pg1.KeepAliveOnce(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := client(conf(p.issue("stranger"))).Get(ctx, "/service/demo/x"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Fatal(err)
	}
	lie := metadata.AppendToOutgoingContext(ctx, "quorate-certified-name", "root")
	if _, err := client(conf()).Get(lie, "/service/demo/x"); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Fatal(err)
	}

	post := func(c *tls.Config, header string) int {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: c}
		defer tr.CloseIdleConnections()
		req, _ := http.NewRequest(http.MethodPost, "https://"+s.addr+"/v3/kv/range", bytes.NewBufferString(`{"key":"`+b64("/service/demo/x")+`"}`))
		if header != "" {
			req.Header.Set(header, "root")
		}
		res, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if code := post(conf(p.issue("pg1")), ""); code != 200 {
		t.Errorf("JSON with a certificate: %d", code)
	}
	if code := post(conf(p.issue("stranger")), ""); code != 403 {
		t.Errorf("JSON with the certificate of a stranger: %d", code)
	}
	for _, header := range []string{"", "Grpc-Metadata-Quorate-Certified-Name", "Quorate-Certified-Name", "Grpcgateway-Quorate-Certified-Name"} {
		if code := post(conf(), header); code != 400 {
			t.Errorf("JSON without a certificate and with header %q: %d", header, code)
		}
	}
}

// A wrong password costs time in one place only, and gives nothing away.
func TestManyWrongPasswords(t *testing.T) {
	s := start(t, withAccess(guarded(t)), timeout(20*time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	auth := pb.NewAuthClient(s.dial())
	errs := make(chan error, 40)
	for i := range cap(errs) {
		go func() {
			_, err := auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: []string{"patroni", "nobody"}[i%2], Password: "wrong"})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; status.Convert(err).Message() != "etcdserver: authentication failed, invalid user ID or password" {
			t.Fatal(err)
		}
	}
	s.token("patroni", "secret")
}
