package iam

import (
	"context"
	"crypto"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/iam/oidc"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

const (
	// signInCookie has a sign-in between its beginning and its end, so that any
	// process of the platform can end it, and nobody can end it for another.
	signInCookie = "selvedge_signin"
	// signInAudience is whom such a cookie is for: it is no token.
	signInAudience = "signin"
	// signInLife is how long a person may take.
	signInLife = 10 * time.Minute
)

// SignInPath is where a person signs in, and CallbackPath where the provider
// sends him back to.
const (
	SignInPath   = "/v1/signin"
	CallbackPath = "/v1/signin/callback"
)

// signInFault is the fault of a sign-in that comes to nothing.
func signInFault(reason, text string) error {
	return &fault.Error{Op: "iam.SignIn", Kind: fault.Unauthenticated, Reason: reason, Err: errors.New(text)}
}

// serveSignIn sends a person to the provider.
func (a *Accounts) serveSignIn(w http.ResponseWriter, r *http.Request) {
	s, to, err := a.options.Provider.Begin(r.Context())
	if err != nil {
		fault.Write(w, err)
		return
	}
	id, key := a.signer()
	if key == nil {
		fault.Write(w, signInFault("NO_SIGNING_KEY", "there is no key to sign with"))
		return
	}
	now := time.Now()
	text, err := iam.Sign(key, id, iam.Claims{
		Issuer: a.options.Issuer, Audience: []string{signInAudience}, IssuedAt: now.Unix(), Expires: now.Add(signInLife).Unix(),
		Nonce: s.Nonce, Verifier: s.Verifier, State: s.State,
	})
	if err != nil {
		fault.Write(w, err)
		return
	}
	http.SetCookie(w, a.cookie(text, int(signInLife/time.Second)))
	http.Redirect(w, r, to, http.StatusFound)
}

// cookie is the cookie of a sign-in.
func (a *Accounts) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: signInCookie, Value: value, Path: SignInPath, MaxAge: age, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(a.options.PublicURL, "https:"),
	}
}

// serveCallback answers a person who comes back from the provider with a token.
func (a *Accounts) serveCallback(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, a.cookie("", -1))
	p, err := a.signedIn(r)
	var s session
	if err == nil {
		s, err = a.begin(r.Context(), p)
	}
	a.answer(w, s, err)
}

// signedIn is the user who comes back from the provider.
func (a *Accounts) signedIn(r *http.Request) (iam.Principal, error) {
	c, err := r.Cookie(signInCookie)
	if err != nil {
		return iam.Principal{}, signInFault("NO_SIGN_IN", "the sign-in was not begun here: go to "+SignInPath)
	}
	begun, err := iam.Verify(c.Value, func(id string) (crypto.PublicKey, bool) {
		public, ok := a.feed.Accounts().SigningKey(id)
		return public, ok
	})
	if err != nil || len(begun.Audience) != 1 || begun.Audience[0] != signInAudience || begun.Issuer != a.options.Issuer {
		return iam.Principal{}, signInFault("NO_SIGN_IN", "the sign-in took too long, or was not begun here: go to "+SignInPath)
	}
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(begun.State)) != 1 {
		return iam.Principal{}, signInFault("NO_SIGN_IN", "that is the end of another sign-in")
	}
	if from := q.Get("iss"); from != "" && from != a.options.Provider.Issuer() { // RFC 9207
		return iam.Principal{}, signInFault("SIGN_IN_REFUSED", "the answer is another provider's")
	}
	if why := q.Get("error"); why != "" {
		return iam.Principal{}, signInFault("SIGN_IN_REFUSED", fmt.Sprintf("the provider refuses: %.100s", why))
	}
	person, err := a.options.Provider.End(r.Context(), oidc.SignIn{State: begun.State, Nonce: begun.Nonce, Verifier: begun.Verifier}, q.Get("code"))
	if err != nil {
		return iam.Principal{}, err
	}
	return a.userOf(r.Context(), person)
}

// userOf is the user whom an ID token is about: the one with that identity, or
// else the one with the address, if the provider says that it is the person's.
// The latter has the identity from then on.
func (a *Accounts) userOf(ctx context.Context, person iam.Claims) (iam.Principal, error) {
	name, ok := a.feed.Accounts().UserByIdentity(feed.Identity{Issuer: person.Issuer, Subject: person.Subject})
	if !ok && bool(person.EmailVerified) {
		var err error
		if name, err = a.link(ctx, person); err != nil {
			return iam.Principal{}, err
		}
	}
	account, known := a.feed.Accounts().Account(name)
	switch {
	case !known:
		return iam.Principal{}, signInFault("NO_ACCOUNT", "there is no user of that identity or verified address: ask an administrator for an invitation")
	case account.Disabled:
		return iam.Principal{}, signInFault("ACCOUNT_DISABLED", "the account is disabled")
	}
	return iam.Principal{Kind: iam.User, Name: name, Email: account.Email}, nil
}

// link gives the user of an address an identity, and returns his name; "" if
// there is none, who was not invited either, or one who is somebody else to the
// provider.
func (a *Accounts) link(ctx context.Context, person iam.Claims) (string, error) {
	name, _, ok := a.feed.Accounts().UserByEmail(strings.ToLower(person.Email))
	if !ok {
		return a.acceptAll(ctx, person)
	}
	r, err := a.feed.Type(iamv1.UserType)
	if err != nil {
		return "", err
	}
	follows, err := a.policy(ctx)
	if err != nil {
		return "", err
	}
	other := false
	err = a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error {
		m, err := a.store.Get(ctx, r, resource.Name(name))
		if err != nil {
			return err
		}
		u, isUser := m.(*iamv1.User)
		if !isUser || u.GetEmail() != strings.ToLower(person.Email) {
			return fmt.Errorf("%s changed meanwhile", name)
		}
		other = false
		for _, i := range u.GetIdentities() {
			other = other || i.GetIssuer() == person.Issuer && i.GetSubject() != person.Subject
		}
		if other || u.GetState() == iamv1.User_DISABLED {
			return nil
		}
		u.Identities = append(u.Identities, &iamv1.Identity{Issuer: person.Issuer, Subject: person.Subject})
		return a.store.Save(ctx, u, store.SaveOptions{Update: true, Reason: "signed in"})
	})
	if other {
		return "", err
	}
	return name, err
}
