// Package remote is how a program that is not the platform knows who calls it,
// and what he may do: it asks the platform, with the caller's own credentials.
//
// An answer is believed for half a second, so that a key, a role or an account
// that ended ends here within a second, whatever it was. Nothing is allowed that
// the platform did not allow: while it cannot be asked, calls are Unavailable.
// The credentials go to the platform and nowhere else; of them, memory has
// hashes only. Nobody is allowed anything without credentials, not even what
// allUsers may do.
//
// A function behind the door of a platform on one machine gets no credentials, but
// a token that says who calls ([iam.CallerHeader]). It asks what he may with a key
// of its own (caller.go).
package remote

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// Options say whom to ask.
type Options struct {
	// URL is where the platform is.
	URL string
	// Audience is the domain of the service, which tokens of the platform itself
	// are for ([Platform.AllowPlatform]).
	Audience string
	// Function is the name that the function was told ([iam.FunctionVariable]), ""
	// if it is none behind a door. Key is that of its own account, which needs the
	// permission iam.access.explain to ask about callers whom the door names.
	Function, Key string
	// HTTP makes the requests; nil is one that follows no redirects and waits 10
	// seconds.
	HTTP *http.Client
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	// fresh is how long an answer is believed, from when it was asked for.
	fresh = 500 * time.Millisecond
	// timeout bounds a question.
	timeout = 10 * time.Second
	// maxAnswers bounds the answers in memory, at some hundred bytes each.
	maxAnswers = 10_000
)

// Platform asks the platform. It is an [iam.Authenticator], and safe for
// concurrent use.
type Platform struct {
	o Options
	// who, tests and explains are the methods by which it asks.
	who, tests, explains *schema.Method
	keys                 *keys

	mu      sync.Mutex
	answers map[[sha256.Size]byte]answer
}

var _ iam.Authenticator = (*Platform)(nil)

// answer is what the platform said, and when it was asked.
type answer struct {
	at  time.Time
	who iam.Principal
}

// New makes a Platform.
func New(o Options) *Platform {
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Platform{o: o, answers: map[[sha256.Size]byte]answer{}, keys: &keys{url: strings.TrimSuffix(o.URL, "/"), http: o.HTTP, now: o.Now}}
	for _, m := range iamv1.AddTo(new(schema.Registry)).Methods {
		switch m.Desc.Name() {
		case "ListMyPermissions":
			p.who = m
		case "TestPermissions":
			p.tests = m
		case "ExplainAccess":
			p.explains = m
		}
	}
	return p
}

// incoming is what came with a request: the caller's credentials, or the token by
// which the door says who he is, or that of the platform itself.
type incoming struct{ key, caller, platform string }

// incomingKey finds what came with the request of a context.
type incomingKey struct{}

// Incoming is the middleware that keeps the credentials of a request, by which
// Allow asks. It comes before the one that authenticates.
func Incoming(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := iam.Bearer(r.Header.Get("Authorization"))
		in := incoming{key: key, caller: r.Header.Get(iam.CallerHeader), platform: r.Header.Get(iam.PlatformHeader)}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), incomingKey{}, in)))
	})
}

// incomingOf is what came with the request of a context.
func incomingOf(ctx context.Context) incoming {
	in, _ := ctx.Value(incomingKey{}).(incoming)
	return in
}

// credentials are those of the request of a context, "" if it has none.
func credentials(ctx context.Context) string { return incomingOf(ctx).key }

// Authenticate implements [iam.Authenticator]. The platform itself is Anonymous:
// what it may, AllowPlatform says.
func (p *Platform) Authenticate(ctx context.Context, authorization string) (iam.Principal, error) {
	if authorization == "" {
		return p.caller(ctx)
	}
	key, ok := iam.Bearer(authorization)
	if !ok {
		return iam.Principal{}, &fault.Error{Op: "remote.Authenticate", Kind: fault.Unauthenticated, Reason: "MALFORMED_CREDENTIALS", Err: errors.New("want the header Authorization: Bearer KEY")}
	}
	claims := claimsOf(key)
	if p.o.Audience != "" && slices.Contains(claims.Audience, p.o.Audience) {
		return iam.Principal{}, nil
	}
	return p.ask(query{key: key}, func(c *rpc.Client) (iam.Principal, error) {
		out, err := c.Call(ctx, p.who, &iamv1.ListMyPermissionsRequest{})
		if err != nil {
			return iam.Principal{}, asked(err)
		}
		mine, ok := out.(*iamv1.ListMyPermissionsResponse)
		if !ok {
			return iam.Principal{}, asked(fmt.Errorf("the answer is a %T", out))
		}
		return principal(mine.GetMember(), claims.Subject)
	})
}

// principal is whom role bindings call so. The name of a user is in his token,
// which the platform has just accepted.
func principal(member, subject string) (iam.Principal, error) {
	if email, ok := strings.CutPrefix(member, access.User); ok {
		who, err := iam.ParsePrincipal(subject)
		if err != nil || who.Kind != iam.User {
			return iam.Principal{}, asked(errors.New("a user has no name"))
		}
		who.Email = email
		return who, nil
	}
	name := member
	for _, kind := range []string{access.ServiceAccount, access.Device} {
		name = strings.TrimPrefix(name, kind)
	}
	if project, ok := strings.CutPrefix(name, "project:"); ok {
		name = "projects/" + project
	}
	who, err := iam.ParsePrincipal(name)
	if err != nil {
		return iam.Principal{}, asked(err)
	}
	return who, nil
}

// claimsOf is what a token says of itself, nothing if it is none. It proves
// nothing.
func claimsOf(token string) (c iam.Claims) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return iam.Claims{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &c) != nil {
		return iam.Claims{}
	}
	return c
}

// Allow is nil if the caller whose credentials the context has, by Incoming, has
// the permission on the resource of that name, "" being the platform.
func (p *Platform) Allow(ctx context.Context, permission string, name resource.Name) error {
	key, named := credentials(ctx), p.named(ctx)
	who := iam.PrincipalOf(ctx)
	if key == "" && !named || who.Kind == iam.Anonymous {
		return &fault.Error{
			Op: "remote.Allow", Name: string(name), Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED", Field: permission,
			Err: fmt.Errorf("the permission %s needs credentials: Authorization: Bearer KEY", permission),
		}
	}
	if named {
		return p.allowNamed(ctx, permission, name)
	}
	if iam.Question(ctx, permission, name).AnyFields {
		// The platform does not know the resources of others, and whoever asks so
		// was told no without their fields.
		return denial(who, name, permission)
	}
	_, err := p.ask(query{key: key, permission: permission, name: name}, func(c *rpc.Client) (iam.Principal, error) {
		out, err := c.Call(ctx, p.tests, &iamv1.TestPermissionsRequest{Resource: string(name), Permissions: []string{permission}})
		if err != nil {
			return who, asked(err)
		}
		has, ok := out.(*iamv1.TestPermissionsResponse)
		if !ok || !slices.Contains(has.GetPermissions(), permission) {
			return who, denial(who, name, permission)
		}
		return who, nil
	})
	return err
}

// AllowIn is Allow in a project, an id, or "" for none.
func (p *Platform) AllowIn(ctx context.Context, project, permission string) error {
	var name resource.Name
	if project != "" {
		name = resource.Name("projects/" + project)
	}
	return p.Allow(ctx, permission, name)
}

// denial is the fault of a permission that somebody lacks.
func denial(who iam.Principal, name resource.Name, permission string) error {
	return &fault.Error{
		Op: "remote.Allow", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission,
		Err: fmt.Errorf("%s lacks the permission %s", who.Name, permission),
	}
}

// Visible reports whether Allow is nil.
func (p *Platform) Visible(ctx context.Context, permission string, name resource.Name) bool {
	return p.Allow(ctx, permission, name) == nil
}

// query is what is asked: by which key, about whom if that is not whose key it is,
// and about which permission on what, if not who it is.
type query struct {
	key, about, permission string
	name                   resource.Name
}

// ask answers a query from memory, or else by asking. Only what was granted is
// kept: what is granted now is so at once.
func (p *Platform) ask(q query, question func(*rpc.Client) (iam.Principal, error)) (iam.Principal, error) {
	id := sha256.Sum256([]byte(strings.Join([]string{q.key, q.about, q.permission, string(q.name)}, "\x00")))
	now := p.o.Now()
	p.mu.Lock()
	known, ok := p.answers[id]
	p.mu.Unlock()
	if ok && now.Sub(known.at) < fresh {
		return known.who, nil
	}
	who, err := question(&rpc.Client{URL: p.o.URL, Key: q.key, HTTP: p.o.HTTP})
	if err != nil {
		return iam.Principal{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) >= maxAnswers {
		clear(p.answers)
	}
	p.answers[id] = answer{now, who}
	return who, nil
}

// asked is the fault of a question that had no answer. That the credentials
// prove nothing is one.
func asked(err error) error {
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Denied, fault.Exhausted:
		return err
	}
	return &fault.Error{Op: "remote.Ask", Kind: fault.Unavailable, Reason: "PLATFORM_UNREACHABLE", Err: fmt.Errorf("the platform cannot be asked who calls: %w", err)}
}
