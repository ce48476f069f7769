//go:build integration

package fencing

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"quorate/test/snmppdu"
)

// bound is how long anything may take that has to happen.
const bound = time.Minute

// TestMain lets many tests wait at the same time: they wait for devices that never come round, and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	m.Run()
}

// root is the folder of the module.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var buildHandler = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "out", "lab", "bin", "labpdu")
	cmd := exec.Command("go", "build", "-o", binary, "./test/cmd/labpdu")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build labpdu: %w\n%s", err, out)
	}
	return binary, nil
})

// pdu is a running snmpd with outlets.
type pdu struct {
	t       testing.TB
	folder  string
	port    int
	profile snmppdu.Profile
	cmd     *exec.Cmd
	done    chan struct{}
}

const (
	readCommunity, writeCommunity = "public", "private"
	userName                      = "fence"
	authPassword, privPassword    = "authpass123", "privpass123"
)

// startPDU runs snmpd with the table of a profile on a loopback port.
func startPDU(t testing.TB, profile string, delay time.Duration) *pdu {
	t.Helper()
	folder, err := os.MkdirTemp("", "pdu") // a test's own folder has its name, and snmpd minds commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	p := &pdu{t: t, folder: folder, profile: snmppdu.Profiles[profile]}
	p.configure(snmppdu.Settings{Delay: delay})
	handler, err := buildHandler()
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		p.port = freePort(t)
		p.writeConfig(handler, profile)
		p.start()
		if p.answers() {
			return p
		}
		if try == 5 { // another process may have taken the port meanwhile
			log, _ := os.ReadFile(filepath.Join(p.folder, "snmpd.log"))
			t.Fatalf("snmpd does not answer\n%s", log)
		}
		p.kill()
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.LocalAddr().(*net.UDPAddr).Port
}

func (p *pdu) writeConfig(handler, profile string) {
	p.t.Helper()
	lines := []string{
		fmt.Sprintf("agentaddress udp:127.0.0.1:%d", p.port),
		"rocommunity " + readCommunity + " 127.0.0.1",
		"rwcommunity " + writeCommunity + " 127.0.0.1",
		"sysDescr APC Web/SNMP Management Card (MB:v3.9.2 PF:v3.7.3 PN:apc_hw02_aos_373.bin)",
		"sysName pdu-a",
		"sysObjectID .1.3.6.1.4.1." + p.profile.ObjectID,
		fmt.Sprintf("pass_persist .1.3.6.1.4.1.%s %s -profile %s -folder %s", p.profile.Root, handler, profile, p.folder),
	}
	for _, u := range users {
		lines = append(lines,
			fmt.Sprintf("createUser %s %s %q %s %q", u.name, u.auth, authPassword, u.priv, privPassword),
			fmt.Sprintf("%s %s priv", map[bool]string{true: "rwuser", false: "rouser"}[u.write], u.name))
	}
	if err := os.WriteFile(filepath.Join(p.folder, "snmpd.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// users in net-snmp's spelling of the algorithms.
var users = []struct {
	name, auth, priv string
	write            bool
}{
	{userName, "SHA", "AES", true},
	{"reader", "SHA", "AES", false},
	{"sha224", "SHA-224", "AES", true},
	{"sha256", "SHA-256", "AES", true},
	{"sha384", "SHA-384", "AES-192", true},
	{"sha512", "SHA-512", "AES-256", true},
	{"reeder192", "SHA", "AES-192-C", true},
	{"reeder256", "SHA-256", "AES-256-C", true},
}

// start runs snmpd as an ordinary program: no configuration but ours, no second listening port.
func (p *pdu) start() {
	p.t.Helper()
	p.cmd = exec.Command("/usr/sbin/snmpd", "-f", "-C", "-c", filepath.Join(p.folder, "snmpd.conf"), "-I", "-smux",
		"-Lf", filepath.Join(p.folder, "snmpd.log"))
	p.cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+filepath.Join(p.folder, "persistent"), "MIBS=")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done, cmd := make(chan struct{}), p.cmd
	p.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
}

func (p *pdu) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// freeze stops the PDU in the middle of whatever it does; thaw lets it go on.
func (p *pdu) freeze() { p.signal(syscall.SIGSTOP) }
func (p *pdu) thaw()   { p.signal(syscall.SIGCONT) }

func (p *pdu) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// answers waits until the handler serves its table.
func (p *pdu) answers() bool {
	objects := fmt.Sprintf(".1.3.6.1.4.1.%s", p.profile.Root)
	for end := time.Now().Add(bound); time.Now().Before(end); {
		select {
		case <-p.done:
			return false
		default:
		}
		g := &gosnmp.GoSNMP{Target: "127.0.0.1", Port: uint16(p.port), Community: readCommunity, Version: gosnmp.Version2c, Timeout: time.Second}
		if g.Connect() != nil {
			continue
		}
		r, err := g.GetNext([]string{objects})
		_ = g.Close()
		if err == nil && len(r.Variables) == 1 && strings.HasPrefix(r.Variables[0].Name, objects) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func (p *pdu) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// configure changes the PDU's behaviour from the next request on.
func (p *pdu) configure(s snmppdu.Settings) {
	p.t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		p.t.Fatal(err)
	}
	path := filepath.Join(p.folder, "settings.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pdu) state() snmppdu.State {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.folder, "state.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	var s snmppdu.State
	if err := json.Unmarshal(data, &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// on tells what an outlet really does now.
func (p *pdu) on(outlet string) bool {
	p.t.Helper()
	o := p.state().Outlets[outlet]
	if o == nil {
		p.t.Fatalf("the PDU has no outlet %s", outlet)
	}
	if !o.Due.IsZero() && !time.Now().Before(o.Due) {
		return o.Want
	}
	return o.On
}

// really describes some outlets, for a table: "3 off, 5 ON".
func (p *pdu) really(outlets ...string) string {
	var list []string
	for _, o := range outlets {
		list = append(list, o+" "+map[bool]string{true: "ON", false: "off"}[p.on(o)])
	}
	return strings.Join(list, ", ")
}
