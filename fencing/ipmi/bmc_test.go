package ipmi_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"quorate/fencing"
	"quorate/fencing/ipmi"
)

const password = "a-secret-of-BMC"

var guid = [16]byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}

// machine is a BMC (go-ipmi's server) behind a network that can do harm.
type machine struct {
	address string

	mu       sync.Mutex
	on       bool
	deaf     bool // accepts power commands and does nothing
	delay    time.Duration
	controls []byte // chassis control commands that arrived
	status   func() ([]byte, types.CompletionCode)
	control  types.CompletionCode

	wire func(toConsole bool, p []byte) [][]byte // what becomes of a datagram; nil: it arrives
}

type options struct {
	privilege bmc.PrivilegeLevel
	suites    []types.CipherSuiteID
	sessions  int
}

func startBMC(t *testing.T, o options) *machine {
	t.Helper()
	m := &machine{on: true}
	if o.privilege == 0 {
		o.privilege = bmc.PrivilegeLevelOperator
	}
	var more []bmc.Option
	if o.suites != nil {
		more = append(more, bmc.WithCipherSuites(o.suites))
	}
	b := bmc.New(bmc.DeviceInfo{DeviceID: 1, IPMIVersion: 0x20}, guid, mock.New(), more...)
	if o.sessions > 0 {
		b.Sessions = bmc.NewSessionStoreWithOptions(b.Clock(), bmc.WithMaxSessions(o.sessions))
	}
	user, err := b.Users.Add(2, "fence")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte(password))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: o.privilege, Enabled: true}

	registry := handlers.NewRegistry()
	handlers.RegisterAllHandlers(registry)
	registry.RegisterFunc(types.CommandGetChassisStatus, func(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
		data, code := m.answerStatus()
		return data, code, nil
	})
	registry.RegisterFunc(types.CommandChassisControl, func(_ context.Context, _ *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		return nil, m.answerControl(req), nil
	})
	inner, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := server.NewServer(b, udp.Wrap(inner), server.WithHandlerRegistry(registry))
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ctx) })
	stop := m.relay(t, &wg, inner.LocalAddr().(*net.UDPAddr))
	t.Cleanup(func() {
		cancel()
		_ = srv.Close()
		stop()
		wg.Wait()
	})
	return m
}

func (m *machine) answerStatus() ([]byte, types.CompletionCode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != nil {
		return m.status()
	}
	var power byte
	if m.on {
		power = 1
	}
	return []byte{power, 0, 0}, types.CodeOK
}

func (m *machine) answerControl(req []byte) types.CompletionCode {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.controls = append(m.controls, req[0]&0xf)
	if m.control != types.CodeOK {
		return m.control
	}
	if !m.deaf {
		on := req[0]&0xf == 1
		time.AfterFunc(m.delay, func() {
			m.mu.Lock()
			m.on = on
			m.mu.Unlock()
		})
	}
	return types.CodeOK
}

func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *machine) running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on
}

// relay forwards between one console after another and the BMC, and lets wire tamper with every datagram.
func (m *machine) relay(t *testing.T, wg *sync.WaitGroup, to *net.UDPAddr) (stop func()) {
	t.Helper()
	outer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	m.address = outer.LocalAddr().String()
	back, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var console *net.UDPAddr
	pump := func(from *net.UDPConn, toConsole bool) {
		buf := make([]byte, 4096)
		for {
			n, addr, err := from.ReadFromUDP(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			wire := m.wire
			m.mu.Unlock()
			packets := [][]byte{append([]byte(nil), buf[:n]...)}
			if wire != nil {
				packets = wire(toConsole, packets[0])
			}
			mu.Lock()
			if !toConsole {
				console = addr
			}
			back2 := console
			mu.Unlock()
			for _, p := range packets {
				if toConsole {
					_, _ = outer.WriteToUDP(p, back2)
				} else {
					_, _ = back.WriteToUDP(p, to)
				}
			}
		}
	}
	wg.Go(func() { pump(outer, false) })
	wg.Go(func() { pump(back, true) })
	return func() {
		_ = outer.Close()
		_ = back.Close()
	}
}

func config(m *machine) ipmi.Config {
	return ipmi.Config{Name: "bmc", Address: m.address, Username: "fence", Password: password}
}

func open(t *testing.T, c ipmi.Config) *ipmi.Device {
	t.Helper()
	d, err := ipmi.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func host(devices ...fencing.Device) fencing.Host {
	h := fencing.Host{Name: "db1"}
	for _, d := range devices {
		h.Levels = append(h.Levels, fencing.Level{d})
	}
	return h
}
