package simulated

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// PowerState values that a system reports (DSP0268).
const (
	On          = "On"
	Off         = "Off"
	PoweringOn  = "PoweringOn"
	PoweringOff = "PoweringOff"
)

// System is one machine behind the BMC.
type System struct {
	ID           string // last part of its path; default "1"
	UUID         string // default: made up
	SerialNumber string
	HostName     string
	Power        string // at the start; default On
	// AllowableValues of ResetType; default On and ForceOff. With ActionInfo they are listed there and not inline.
	AllowableValues []string
	ActionInfo      bool
	ChassisReset    bool // the system itself has no reset action; its chassis has
}

// Config describes a BMC. All but Systems has a default.
type Config struct {
	Listen      string // default 127.0.0.1:0
	User        string // default admin
	Password    string // default password
	Role        string // of the user: Administrator, Operator or ReadOnly; default Operator
	Systems     []System
	PDUs        []PDU
	Certificate *tls.Certificate // default: self-signed, made by New

	SharedChassis bool          // all systems are in chassis 1, as blades are
	AnswerDelay   time.Duration // of the fault SlowAnswers; default 10 s

	// Delay is the machine's own time between a command and its effect.
	Delay time.Duration
	// OnOff and OnOn run when a system goes off or on, before the state is reported. Where one fails, the system stays
	// as it was. Their context ends with Run.
	OnOff, OnOn func(ctx context.Context, system string) error

	Logger *slog.Logger // default: silent
}

// BMC is a running simulation. All methods are safe for concurrent use.
type BMC struct {
	config   Config
	cert     tls.Certificate
	listener net.Listener

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever faults change
	faults   map[Fault]bool
	gone     bool // vanished: no connection is served any more
	silent   bool // stalled after an action: nothing is answered any more
	delay    time.Duration
	systems  []*machine
	outlets  []*machine
	sessions map[string]string // ID to token
	serial   int               // of sessions
	forgot   bool              // SessionLost has happened
	commands []Command

	connections int             // accepted so far
	run         context.Context // of Run; nil before
	stopped     bool            // Run is ending
	work        sync.WaitGroup  // transitions under way
}

// New makes a BMC and binds its address, so that URL is known. It starts nothing: call Run, or Close.
func New(c Config) (*BMC, error) {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	c.User, c.Password = cmp.Or(c.User, "admin"), cmp.Or(c.Password, "password")
	c.Role = cmp.Or(c.Role, "Operator")
	c.AnswerDelay = cmp.Or(c.AnswerDelay, 10*time.Second)
	c.Systems = slices.Clone(c.Systems)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Systems) == 0 {
		c.Systems = []System{{}}
	}
	b := &BMC{
		config: c, delay: c.Delay,
		changed: make(chan struct{}), faults: map[Fault]bool{}, sessions: map[string]string{},
	}
	if err := errors.Join(b.addSystems(), b.addPDUs()); err != nil {
		return nil, err
	}
	var err error
	if c.Certificate != nil {
		b.cert = *c.Certificate
	} else if b.cert, err = selfSigned(); err != nil {
		return nil, fmt.Errorf("simulated BMC: making its certificate: %w", err)
	}
	if b.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("simulated BMC: %w", err)
	}
	return b, nil
}

func (b *BMC) addSystems() error {
	for i, s := range b.config.Systems {
		s.ID = cmp.Or(s.ID, fmt.Sprint(i+1))
		s.Power = cmp.Or(s.Power, On)
		if s.UUID == "" {
			s.UUID = randomUUID()
		}
		if s.AllowableValues == nil {
			s.AllowableValues = []string{On, "ForceOff"}
		}
		if b.find(s.ID) != nil || (s.Power != On && s.Power != Off) {
			return fmt.Errorf("simulated BMC: system %q is named twice, or starts in a state other than On and Off", s.ID)
		}
		b.systems = append(b.systems, &machine{System: s, on: s.Power == On, reported: s.Power})
	}
	return nil
}

// Run serves until ctx ends. Then it drops every connection, as a BMC without power does, and waits for hooks.
func (b *BMC) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.mu.Lock()
	if b.run != nil {
		b.mu.Unlock()
		return errors.New("simulated BMC: Run was called twice")
	}
	b.run = ctx
	b.mu.Unlock()

	server := &http.Server{
		Handler:           b.handler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{b.cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(b.config.Logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		_ = server.Close() // only to unblock ServeTLS below
	}()
	err := server.ServeTLS(&gate{Listener: b.listener, bmc: b}, "", "")
	cancel()
	<-stopped
	b.mu.Lock()
	b.stopped = true // from here on nothing is added to work
	b.mu.Unlock()
	b.work.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("simulated BMC: %w", err)
}

// Close releases the address of a BMC that is not running. A running one is stopped by the context of Run.
func (b *BMC) Close() error { return b.listener.Close() }

// URL is where it serves: https://address:port.
func (b *BMC) URL() string { return "https://" + b.listener.Addr().String() }

// Fingerprint is the SHA-256 of its certificate in hex.
func (b *BMC) Fingerprint() string {
	sum := sha256.Sum256(b.cert.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// CertificatePEM is its certificate, to be trusted as a CA file.
func (b *BMC) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.cert.Certificate[0]})
}

// Certificate is its certificate, parsed.
func (b *BMC) Certificate() (*x509.Certificate, error) {
	return x509.ParseCertificate(b.cert.Certificate[0])
}

func randomUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails (crypto/rand)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
