package emailer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"selvedge.dev/sdk/fault"
)

// Open makes the provider that a URL says:
//
//	smtp://USER:PASSWORD@HOST:587   SMTP, encrypted by STARTTLS
//	smtps://USER:PASSWORD@HOST:465  SMTP within TLS
//	ses://KEY:SECRET@REGION         Amazon SES; without a key, with the credentials
//	                                of the environment, as the AWS SDK finds them
//
// The user and the password are left out for a server that asks for none. With
// ?ca=FILE the server's certificate is one of the authorities in that PEM file;
// with ?tls=none there is no encryption, and then no password either unless the
// server is this machine. With ?endpoint=URL, SES is there.
func Open(ctx context.Context, text string) (Provider, error) {
	u, err := url.Parse(text)
	if err != nil { // whose text has the password
		return nil, wrong(errors.New("it is not a URL"))
	}
	switch u.Scheme {
	case "smtp", "smtps":
		if u.Hostname() == "" {
			return nil, wrong(errors.New("it names no host"))
		}
		c := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		if file := u.Query().Get("ca"); file != "" {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, wrong(err)
			}
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, wrong(fmt.Errorf("%s has no certificate", file))
			}
		}
		return newSMTP(u, c)
	case "ses":
		return newSES(ctx, u)
	}
	return nil, wrong(fmt.Errorf("the scheme %q is none of smtp, smtps and ses", u.Scheme))
}

// wrong is the fault of a URL.
func wrong(err error) error {
	return &fault.Error{Op: "emailer.Open", Kind: fault.Invalid, Reason: "INVALID_PROVIDER", Field: "EMAIL_URL", Err: fmt.Errorf("EMAIL_URL: %w", err)}
}
