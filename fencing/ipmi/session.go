package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"

	"quorate/fencing"
)

// errIgnored: the BMC does not answer to this cipher suite, or not at all.
var errIgnored = errors.New("no answer to this cipher suite")

// maxLogins bounds the logins that one call tries with one cipher suite.
const maxLogins = 3

// session is an open RMCP+ session.
type session struct {
	client *client.Client
	guard  *guard
	suite  int
	guid   [16]byte // of the managed system, authenticated by RAKP message 2
}

// dialer hands the guarded connection to the library, whatever it asks for (golang.org/x/net/proxy.Dialer).
type dialer struct{ conn net.Conn }

func (d dialer) Dial(string, string) (net.Conn, error) { return d.conn, nil }

// connect logs in, unless that is done already.
func (d *Device) connect(ctx context.Context) error {
	if d.session != nil {
		return nil
	}
	var faults []error
	for i, number := range d.config.CipherSuites {
		patient := i == len(d.config.CipherSuites)-1
		s, err := d.login(ctx, number, patient)
		for try := 1; err != nil && !errors.Is(err, errIgnored) && try < maxLogins && ctx.Err() == nil; try++ {
			// A late answer to an earlier login looks just like a wrong password, so that gets a second chance too.
			if judged(err) && (try > 1 || !errors.Is(err, client.ErrRAKPAuthentication)) {
				break
			}
			s, err = d.login(ctx, number, patient)
		}
		if err == nil {
			d.session = s
			return nil
		}
		faults = append(faults, fmt.Errorf("cipher suite %d: %w", number, err))
		if !suiteRefused(err) && !errors.Is(err, errIgnored) {
			break
		}
	}
	err := errors.Join(faults...)
	if suiteRefused(faults[len(faults)-1]) {
		err = fmt.Errorf("%w: the BMC has none of the cipher suites %v: enable 17 or 3 there", fencing.ErrPermanent, d.config.CipherSuites)
	}
	return fmt.Errorf("cannot log in to %s: %w", d.address, d.permanently(err))
}

// login goes the steps of IPMI 2.0, 13.15, itself: the library's Connect takes any algorithm that the BMC answers with,
// also none, and leaves a goroutine behind.
// patient is false while there is another suite to try: some BMCs, and ipmi_sim, do not refuse one that they lack but stay
// silent.
func (d *Device) login(ctx context.Context, number int, patient bool) (s *session, err error) {
	conn, err := dial(ctx, d.address)
	if err != nil {
		return nil, err
	}
	s = &session{suite: number, guard: &guard{
		Conn: conn, user: d.config.Username, password: d.config.Password, suite: suites[number],
	}}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if s.client, err = client.NewClient("guarded", 0, d.config.Username, d.config.Password); err != nil {
		return nil, err
	}
	s.client.WithCipherSuiteID(types.CipherSuiteID(number)).WithMaxPrivilegeLevel(d.privilege).
		WithTimeout(d.config.CallTimeout).WithRetry(0).WithUDPProxy(dialer{s.guard})

	open := func(ctx context.Context) (*rmcpplus.OpenSessionResponse, error) { return s.client.OpenSession(ctx) }
	var opened *rmcpplus.OpenSessionResponse
	if patient {
		opened, err = answer(ctx, d, open)
	} else {
		call, cancel := context.WithTimeout(ctx, d.config.Resend)
		defer cancel()
		if opened, err = open(call); err != nil && !judged(err) {
			err = fmt.Errorf("%w (%w)", errIgnored, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	if got := (suite{types.AuthAlg(opened.AuthAlg), types.IntegrityAlg(opened.IntegrityAlg), types.CryptAlg(opened.CryptAlg)}); got != s.guard.suite {
		return nil, fmt.Errorf("%w: the answer wants other algorithms than cipher suite %d: somebody may be in between", fencing.ErrPermanent, number)
	}
	challenge, err := answer(ctx, d, func(ctx context.Context) (*rmcpplus.RAKPMessage2, error) { return s.client.RAKPMessage1(ctx) })
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	s.guid = challenge.ManagedSystemGUID
	request := rmcpplus.RAKPMessage1{RequestedMaximumPrivilegeLevel: d.privilege, NameOnlyLookup: true}
	if err := s.guard.derive(request.Role()); err != nil {
		return nil, err
	}
	// Sent once: a BMC that got it twice would answer the second one with an error. Without an answer the login starts anew.
	call, cancel := context.WithTimeout(ctx, d.config.Resend)
	defer cancel()
	if _, err = s.client.RAKPMessage3(call); err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	if _, err = answer(ctx, d, func(ctx context.Context) (*app.SetSessionPrivilegeLevelResponse, error) {
		return s.client.SetSessionPrivilegeLevel(ctx, d.privilege)
	}); err != nil {
		return nil, fmt.Errorf("asking for the privilege %s: %w", d.privilege, err)
	}
	return s, nil
}

// answer asks, and asks once more after Resend. The second request is a new one: an answer that comes late belongs to a
// request that nobody waits for, and is dropped.
func answer[T any](ctx context.Context, d *Device, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.CallTimeout)
	defer cancel()
	first, stop := context.WithTimeout(ctx, d.config.Resend)
	defer stop()
	result, err := ask(first)
	if err == nil || judged(err) || ctx.Err() != nil {
		return result, err
	}
	return ask(ctx)
}

// judged reports whether err is the BMC's own answer, or the judgement on one; else there was no answer.
func judged(err error) bool {
	_, refused := completion(err)
	return refused || statusOf(err) != types.RmcpStatusCodeNoErrors || errors.Is(err, client.ErrRAKPAuthentication) || errors.Is(err, fencing.ErrPermanent)
}

// suiteRefused reports whether the BMC knows the cipher suite not.
func suiteRefused(err error) bool {
	switch statusOf(err) {
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeNoMatchingAuthPayload,
		types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeInvalidConfidentAlg, types.RmcpStatusCodeNoCipherSuiteMatch:
		return true
	default:
		return false
	}
}

// statusOf is the RMCP+ status in err; RmcpStatusCodeNoErrors if there is none.
func statusOf(err error) types.RmcpStatusCode {
	var status *types.RmcpStatusError
	if errors.As(err, &status) {
		return status.StatusCode()
	}
	return types.RmcpStatusCodeNoErrors
}

// completion is the completion code with which the BMC refused a command.
func completion(err error) (types.CompletionCode, bool) {
	var refused *types.ResponseError
	if errors.As(err, &refused) {
		return refused.CompletionCode(), true
	}
	return 0, false
}

// permanently marks an error that no retry cures.
func (d *Device) permanently(err error) error {
	user := d.config.Username
	if errors.Is(err, client.ErrRAKPAuthentication) {
		return fmt.Errorf("%w: the user name %q or its password is wrong: correct them, or look whether the account is locked (%w)", fencing.ErrPermanent, user, err)
	}
	switch statusOf(err) {
	case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeInvalidNameLength:
		return fmt.Errorf("%w: the BMC has no user %q that may use IPMI over LAN: create it, or enable it for the channel (%w)", fencing.ErrPermanent, user, err)
	case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
		return fmt.Errorf("%w: user %q may not have the privilege %s: raise its limit on the LAN channel (%w)", fencing.ErrPermanent, user, d.privilege, err)
	case types.RmcpStatusCodeInvalidIntegrityCheckValue:
		return fmt.Errorf("%w: the BMC rejects the password of user %q (%w)", fencing.ErrPermanent, user, err)
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole:
		return fmt.Errorf("the BMC has no session left; those of others end after a minute of silence (%w)", err)
	}
	code, refused := completion(err)
	switch {
	case refused && (code == types.CodeInsufficientPrivilege || code == 0x80 || code == 0x81): // 22.18: level not available, exceeds limit
		return fmt.Errorf("%w: user %q lacks the privilege %s on the LAN channel (%w)", fencing.ErrPermanent, user, d.privilege, err)
	case refused && (code == types.CodeInvalidCommand || code == types.CodeSubFnDisabled || code == types.CodeIllegalCommand):
		return fmt.Errorf("%w: the BMC does not offer this command: fence this host by another device (%w)", fencing.ErrPermanent, err)
	default:
		return err
	}
}

// Close logs out and drops the connection.
func (d *Device) Close(ctx context.Context) error {
	s := d.session
	d.session = nil
	if s == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = s.guard.SetDeadline(time.Now()) })
	defer stop()
	if err := s.client.Close(ctx); err != nil {
		_ = s.guard.Close()
		return fmt.Errorf("cannot log out of %s, its session stays until it times out: %w", d.address, err)
	}
	return nil
}
