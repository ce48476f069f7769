package redfish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/common"

	"quorate/fencing"
)

// reply is what the BMC answered, whatever the status.
type reply struct {
	status int
	body   []byte
	etag   string
	fault  string // the BMC's own words, if it refused
}

// connect logs in, unless that is done already.
func (d *Device) connect() error {
	if d.client != nil {
		return nil
	}
	client, err := d.login(d.config.Auth)
	if err != nil && d.config.Auth == AuthSession && sessionless(err) {
		client, err = d.login(AuthBasic)
	}
	if err != nil {
		return fmt.Errorf("cannot log in to %s: %w", d.origin, d.permanently(err))
	}
	d.client = client
	return nil
}

var errNoToken = errors.New("the BMC made a session without a token")

func (d *Device) login(auth Auth) (*gofish.APIClient, error) {
	client, err := gofish.ConnectContext(context.Background(), gofish.ClientConfig{ // the real context is in d.wire
		Endpoint:   d.origin.Scheme + "://" + d.origin.Host,
		Username:   d.config.Username,
		Password:   d.config.Password,
		BasicAuth:  auth == AuthBasic,
		HTTPClient: d.wire.client(),
	})
	if err != nil {
		return nil, err
	}
	if auth == AuthSession {
		d.session = ""
		session, err := client.GetSession()
		if err != nil || session.Token == "" {
			return nil, errNoToken
		}
		d.session = session.ID
	}
	return client, nil
}

// sessionless reports whether err leaves Basic as a way in: the BMC answered, and did not reject the credentials.
func sessionless(err error) bool {
	status := statusOf(err)
	var transport *url.Error
	return status != http.StatusUnauthorized && status != http.StatusForbidden && !errors.As(err, &transport)
}

// permanently marks an error that no retry cures.
func (d *Device) permanently(err error) error {
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w: the BMC rejects user %q (401): check user name and password, and whether the account is locked", fencing.ErrPermanent, d.config.Username)
	case status == http.StatusForbidden:
		return fmt.Errorf("%w: user %q may not do this (403): give it the privilege ConfigureComponents (role Operator)", fencing.ErrPermanent, d.config.Username)
	case distrusted(err):
		return fmt.Errorf("%w: %w", fencing.ErrPermanent, err)
	default:
		return err
	}
}

func (d *Device) get(link string) (reply, error) {
	return d.exchange(func() (*http.Response, error) { return d.client.Get(link) })
}

// exchange sends a request. Where the BMC has forgotten our session (it restarted, or another login took the place), it
// answers 401 without having carried anything out: then it logs in again and repeats the request, once.
func (d *Device) exchange(send func() (*http.Response, error)) (reply, error) {
	resp, err := send()
	r, err := d.reply(resp, err)
	if err != nil || r.status != http.StatusUnauthorized || d.session == "" || d.again {
		return r, err
	}
	d.client, d.session, d.again = nil, "", true
	if err := d.connect(); err != nil {
		return reply{}, err
	}
	resp, err = send()
	return d.reply(resp, err)
}

// post sends an action. Without an etag no If-Match goes along: some BMCs answer 412 to it (iDRAC10), and gofish's own
// Post sends one whenever the resource had an ETag.
func (d *Device) post(link string, payload any, etag string) (reply, error) {
	headers := map[string]string{}
	if etag != "" {
		headers["If-Match"] = etag
	}
	return d.exchange(func() (*http.Response, error) { return d.client.PostWithHeaders(link, payload, headers) })
}

// reply turns gofish's two ways of reporting a status into one. Its error means that there was no whole answer.
func (d *Device) reply(resp *http.Response, err error) (reply, error) {
	var refused *common.Error
	if errors.As(err, &refused) && refused.HTTPReturnedStatusCode != 0 {
		r := reply{status: refused.HTTPReturnedStatusCode, fault: refused.Message}
		if len(refused.ExtendedInfos) > 0 {
			info := refused.ExtendedInfos[0]
			r.fault = cmp.Or(info.Message, info.MessageID, refused.Message)
		}
		return r, nil
	}
	if err != nil {
		return reply{}, d.permanently(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, fmt.Errorf("the answer broke off: %w", err)
	}
	return reply{status: resp.StatusCode, body: data, etag: resp.Header.Get("ETag")}, nil
}

// errOdd marks answers of a BMC that lives but says nothing usable, as many do in mid-transition.
var errOdd = errors.New("the BMC answers oddly")

// failure describes a refused request; nil if it was not refused.
func (d *Device) failure(what string, r reply) error {
	if r.status < 300 {
		return nil
	}
	err := fmt.Errorf("%w: %d to %s: %s", errOdd, r.status, what, cmp.Or(r.fault, http.StatusText(r.status)))
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %w", what, d.permanently(&common.Error{HTTPReturnedStatusCode: r.status}))
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Errorf("%w: %w: it does not implement it", fencing.ErrPermanent, err)
	default:
		return err
	}
}

func statusOf(err error) int {
	var refused *common.Error
	if errors.As(err, &refused) {
		return refused.HTTPReturnedStatusCode
	}
	return 0
}

// Close logs out and drops the connection.
func (d *Device) Close(ctx context.Context) error {
	defer d.wire.base.CloseIdleConnections()
	client, session := d.client, d.session
	d.client, d.session, d.again, d.uri, d.last, d.answered = nil, "", false, "", system{}, false
	if client == nil || session == "" {
		return nil
	}
	d.wire.call = ctx
	resp, err := client.Delete(session) // gofish's Logout hides its error
	if r, err := d.reply(resp, err); err != nil || r.status >= 300 {
		return fmt.Errorf("cannot log out of %s, its session stays until it times out: %w", d.origin, cmp.Or(err, d.failure("logout", r)))
	}
	return nil
}
