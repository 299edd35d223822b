package messenger

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"selvedge.dev/sdk/fault"
)

// Open makes the provider that the environment says. MESSENGER_URL is one of
//
//	sns://KEY:SECRET@REGION          Amazon SNS; without a key, with the
//	                                 credentials of the environment, as the AWS
//	                                 SDK finds them
//	https://USER:PASSWORD@HOST/PATH  a provider that takes a POST, with basic
//	                                 authentication if there is a user
//
// MESSENGER_FROM is the sender: a number, or for SNS a sender id. With
// ?endpoint=URL, SNS is there.
//
// The body of the POST is the form that Twilio takes, with the fields To, From and
// Body. MESSENGER_BODY is another: a template (sdk/render) with .Data.to, from,
// text and id, whose values are quoted for JSON if MESSENGER_CONTENT_TYPE says
// application/json, which it does by default. MESSENGER_AUTHORIZATION is the
// header Authorization, for a provider that wants a token: "Bearer …".
func Open(ctx context.Context, env map[string]string) (Provider, error) {
	u, err := url.Parse(env["MESSENGER_URL"])
	if err != nil { // whose text has the password
		return nil, wrong(errors.New("it is not a URL"))
	}
	switch {
	case u.Host == "":
		return nil, wrong(errors.New("it names no host, or no region"))
	case u.Scheme == "sns":
		return newSNS(ctx, u, env["MESSENGER_FROM"])
	case u.Scheme == "http", u.Scheme == "https":
		return newHTTP(u, env)
	}
	return nil, wrong(fmt.Errorf("the scheme %q is none of sns, http and https", u.Scheme))
}

// wrong is the fault of the environment.
func wrong(err error) error {
	return &fault.Error{Op: "messenger.Open", Kind: fault.Invalid, Reason: "INVALID_PROVIDER", Field: "MESSENGER_URL", Err: fmt.Errorf("MESSENGER_URL: %w", err)}
}

// refused is the fault of a message that a provider does not want, away that of
// one that it does not take now.
func refused(err error) error {
	return &fault.Error{Op: "messenger.Send", Kind: fault.Invalid, Reason: "REFUSED_BY_PROVIDER", Err: err}
}

// away is the fault of a message that a provider does not take now.
func away(err error) error {
	return &fault.Error{Op: "messenger.Send", Kind: fault.Unavailable, Reason: "PROVIDER_AWAY", Err: err}
}
