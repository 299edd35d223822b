package emailer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"selvedge.dev/sdk/fault"
)

// smtpTimeout bounds each word of a conversation with a server. The function has
// half a minute for all of them.
const smtpTimeout = 10 * time.Second

// smtp sends e-mails to a server, over a connection for each.
type smtp struct {
	host    string
	options []gomail.Option
}

// newSMTP is the provider at a URL.
func newSMTP(u *url.URL, c *tls.Config) (Provider, error) {
	p := &smtp{host: u.Hostname(), options: []gomail.Option{gomail.WithTLSConfig(c), gomail.WithTimeout(smtpTimeout)}}
	port := 587
	switch {
	case u.Scheme == "smtps":
		port = 465
		p.options = append(p.options, gomail.WithSSL())
	case u.Query().Get("tls") == "none":
		port = 25
		p.options = append(p.options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		p.options = append(p.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if text := u.Port(); text != "" {
		var err error
		if port, err = strconv.Atoi(text); err != nil {
			return nil, wrong(err)
		}
	}
	p.options = append(p.options, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		p.options = append(p.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if _, err := gomail.NewClient(p.host, p.options...); err != nil {
		return nil, wrong(err)
	}
	return p, nil
}

// Send implements [Provider]. A server that refuses one of the recipients gets
// the e-mail for none of them.
func (p *smtp) Send(ctx context.Context, m Mail) error {
	client, err := gomail.NewClient(p.host, p.options...)
	if err != nil {
		return wrong(err)
	}
	err = client.DialAndSendWithContext(ctx, m.Message)
	if err == nil || m.Message.IsDelivered() { // and what the server said later is of no matter
		return nil
	}
	var refused *gomail.SendError
	if errors.As(err, &refused) && !refused.IsTemp() && refused.ErrorCode() >= 500 {
		return &fault.Error{Op: "emailer.SMTP", Kind: fault.Invalid, Reason: "REFUSED_BY_SERVER", Err: fmt.Errorf("the server refuses the e-mail: %w", err)}
	}
	return &fault.Error{Op: "emailer.SMTP", Kind: fault.Unavailable, Reason: "SERVER_AWAY", Err: fmt.Errorf("the server does not take the e-mail now: %w", err)}
}
