package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/schema"
)

// Function is one address in front of the platform and of its services that are
// functions of their own. The calls of a service that SELVEDGE_ROUTES names go to
// the function that it names, everything else to the platform. Requests and answers
// pass as they are, so that callers have REST, Connect and gRPC-Web of whoever
// answers, and errors and watches too. gRPC they do not have: func's server speaks
// HTTP/1.1.
type Function struct{ gateway.Hosted }

var _ interface {
	function.Starter
	function.Stopper
	function.ReadinessReporter
	function.LivenessReporter
} = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// The variables of the environment: where the platform is, and which services are
// elsewhere, as DOMAIN=URL with commas or spaces between them.
const (
	urlVariable    = "SELVEDGE_URL"
	routesVariable = "SELVEDGE_ROUTES"
)

// Start opens the address.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	types, err := member.Types()
	if err != nil {
		return err
	}
	known := types.Services()
	s, err := readSettings(env, known)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	front := newFront(s, newRoutes(known), log)
	f.Open(ctx, gateway.Hosting{Handler: front, Close: front.close, Logger: log})
	return nil
}

// settings are what the environment says.
type settings struct {
	// platform is where the platform is, services where those that are elsewhere
	// are, by their domains.
	platform *url.URL
	services map[string]*url.URL
}

// readSettings reads the environment. Only services that are known can be elsewhere:
// of others it is not known what their paths are.
func readSettings(env map[string]string, known []*schema.Service) (settings, error) {
	if env[urlVariable] == "" {
		return settings{}, notConfigured(urlVariable, errors.New(urlVariable+" is not set"))
	}
	platform, err := address(env[urlVariable])
	if err != nil {
		return settings{}, notConfigured(urlVariable, fmt.Errorf("%s: %w", urlVariable, err))
	}
	s := settings{platform: platform, services: map[string]*url.URL{}}
	domains := map[string]bool{}
	for _, k := range known {
		domains[k.Domain] = true
	}
	entries := strings.FieldsFunc(env[routesVariable], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	for i, entry := range entries {
		domain, text, ok := strings.Cut(entry, "=")
		switch {
		case !ok: // it may be anything, also a secret, and is not repeated
			return settings{}, notConfigured(routesVariable, fmt.Errorf("%s: entry %d is not DOMAIN=URL", routesVariable, i+1))
		case !domains[domain]:
			return settings{}, notConfigured(routesVariable, fmt.Errorf("%s: %.100q is no service of the platform: these are %q", routesVariable, domain, slices.Sorted(maps.Keys(domains))))
		case s.services[domain] != nil:
			return settings{}, notConfigured(routesVariable, fmt.Errorf("%s: %s is there twice", routesVariable, domain))
		}
		if s.services[domain], err = address(text); err != nil {
			return settings{}, notConfigured(routesVariable, fmt.Errorf("%s: %s: %w", routesVariable, domain, err))
		}
	}
	return s, nil
}

// address reads where something is. Its errors do not repeat the text, which may
// have a password.
func address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the address is no URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the address is no URL of http or https with a host")
	case u.User != nil:
		return nil, errors.New("the address has a user: callers have their own credentials")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the address has a query or a fragment")
	}
	return u, nil
}

// notConfigured is the fault of a variable.
func notConfigured(variable string, err error) error {
	return &fault.Error{Op: "gateway.Start", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: variable, Err: err}
}
