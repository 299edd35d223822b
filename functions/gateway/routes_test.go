package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"

	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/member"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// door is a way to call a method over REST.
type door struct{ verb, path string }

// filled is a template with "x" for every id.
func filled(template string) string {
	parts := strings.FieldsFunc(template, func(r rune) bool { return r == '{' || r == '}' })
	for i, p := range parts {
		if _, pattern, ok := strings.Cut(p, "="); ok {
			parts[i] = pattern
		}
	}
	return strings.ReplaceAll(strings.Join(parts, ""), "*", "x")
}

// doorsOf are the ways to call a method over REST, by Google's own type.
func doorsOf(t testing.TB, m *schema.Method) (all []door) {
	t.Helper()
	rule, ok := proto.GetExtension(m.Desc.Options(), annotations.E_Http).(*annotations.HttpRule)
	require.True(t, ok, "%s", m.Name)
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		for verb, template := range map[string]string{
			http.MethodGet: r.GetGet(), http.MethodPost: r.GetPost(), http.MethodPut: r.GetPut(),
			http.MethodPatch: r.GetPatch(), http.MethodDelete: r.GetDelete(), r.GetCustom().GetKind(): r.GetCustom().GetPath(),
		} {
			if template != "" {
				all = append(all, door{verb, filled(template)})
			}
		}
	}
	require.NotEmpty(t, all, "%s", m.Name)
	return all
}

// stub is the server of a service: it does nothing, and notes which was called.
type stub struct {
	schema *schema.Service
	called func(ctx context.Context, domain string)
}

// Schema implements rpc.Server.
func (s stub) Schema() *schema.Service { return s.schema }

// Call implements rpc.Server.
func (s stub) Call(ctx context.Context, m *schema.Method, _ proto.Message) (proto.Message, error) {
	s.called(ctx, s.schema.Domain)
	return m.Output.New().Interface(), nil
}

// Stream implements rpc.Server.
func (s stub) Stream(ctx context.Context, m *schema.Method, _ proto.Message, send func(proto.Message) error) error {
	s.called(ctx, s.schema.Domain)
	return send(m.Output.New().Interface())
}

// nobody is what was called when it is no service.
const nobody = "nobody"

// servers are what answers for some services, and tells called which did.
func servers(t testing.TB, called func(ctx context.Context, domain string), services ...*schema.Service) http.Handler {
	t.Helper()
	o := gatewayrpc.Options{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called(r.Context(), nobody)
		w.WriteHeader(http.StatusNotFound)
	})}
	for _, s := range services {
		o.Servers = append(o.Servers, stub{s, called})
	}
	h, err := gatewayrpc.New(o)
	require.NoError(t, err)
	return h
}

// Every path of every method is of its own service: by what its contract says of
// REST, as a call, and as events.
func TestRoutes_EveryMethodIsOfItsService(t *testing.T) {
	t.Parallel()
	known := platformServices(t)
	r := newRoutes(known)
	n := 0
	f := func(s *schema.Service, path string) {
		t.Helper()
		n++
		require.Equal(t, s.Domain, r.serviceOf(path), path)
	}
	for _, s := range known {
		for _, m := range s.Methods {
			f(s, m.Procedure())
			for _, d := range doorsOf(t, m) {
				f(s, d.path)
			}
			if m.Verb != resourcev1.Method_WATCH {
				continue
			}
			for _, p := range m.Resource.Patterns {
				segments := strings.Split(string(p), "/")
				for i := 1; i < len(segments); i += 2 {
					segments[i] = "-"
				}
				if m.Collection {
					segments = segments[:len(segments)-1]
				}
				f(s, "/v1/"+strings.Join(segments, "/")+":watch")
			}
			if m.Collection {
				f(s, "/v1/"+m.Resource.Plural+":watch")
			}
		}
	}
	require.Greater(t, n, 300)
	require.Len(t, known, 7)
}

func TestRoutes_Paths(t *testing.T) {
	t.Parallel()
	r := newRoutes(platformServices(t))
	for path, want := range map[string]string{
		"/v1/projects":                                       "iam.selvedge.dev",
		"/v1/projects/p":                                     "iam.selvedge.dev",
		"/v1/projects/p/devices":                             "devices.selvedge.dev",
		"/v1/projects/p/devices/d":                           "devices.selvedge.dev",
		"/v1/projects/p/devices/":                            "devices.selvedge.dev", // the id is missing, which it says
		"/v1/projects/p/devices/d:alias":                     "devices.selvedge.dev",
		"/v1/projects/p/devices:batchGet":                    "devices.selvedge.dev",
		"/v1/projects/p/devices/d:none":                      "",
		"/v1/projects/p/devices/d:alias:watch":               "",
		"/v1/projects/p/devices/d:":                          "",
		"/v1/projects/p/devices/d/":                          "",
		"/v1/projects/p/devices/a/b":                         "",
		"/v1/projects/p/regions/r/devices/d":                 "devices.selvedge.dev",
		"/v1/projects/p/scripts/s:putState":                  "reason.selvedge.dev",
		"/v1/projects/p/timers:applyPingSource":              "scheduler.selvedge.dev",
		"/v1/projects/p/buckets/b":                           "logging.selvedge.dev",
		"/v1/services/a.example.com":                         "meta.selvedge.dev",
		"/v1/services/a.example.com/roles":                   "iam.selvedge.dev",
		"/v1/services/a.example.com/auditDescriptors":        "audit.selvedge.dev",
		"/v1/services/a.example.com/logDescriptors":          "logging.selvedge.dev",
		"/v1/permissions:mine":                               "iam.selvedge.dev",
		"/v1/devices:watch":                                  "devices.selvedge.dev",
		"/v1/devices":                                        "",
		"/v2/projects/p/devices/d":                           "",
		"/selvedge.devices.v1.DeviceService/GetDevice":       "devices.selvedge.dev",
		"/selvedge.devices.v1.DeviceService/None":            "devices.selvedge.dev", // which says so
		"/selvedge.devices.v1.DeviceService":                 "",
		"/selvedge.devices.v2.DeviceService/GetDevice":       "",
		"selvedge.devices.v1.DeviceService/GetDevice":        "",
		"/x/selvedge.devices.v1.DeviceService/GetDevice":     "",
		"/grpc.reflection.v1.ServerReflection/Info":          "",
		"/google.logging.v2.LoggingServiceV2/ListLogEntries": "",
		"":                                       "",
		"/":                                      "",
		"*":                                      "",
		"//v1/projects/p":                        "",
		"/v1/schema":                             "",
		"/v1/status":                             "",
		"/v1/events":                             "",
		"/v1/metrics":                            "",
		"/v1/keys":                               "",
		"/v1/keys/k":                             "",
		"/v1/token":                              "",
		"/v1/token/revoke":                       "",
		"/v1/snapshots":                          "",
		"/v1/auditTrail":                         "",
		"/v1/auditTrail:keys":                    "",
		"/v1/projects/p/auditTrail":              "",
		"/v1/projects/p/losses":                  "",
		"/v1/projects/p/events":                  "",
		"/v1/projects/p/events/e":                "",
		"/v1/projects/p/deadLetters:replay":      "",
		"/v3/projects/p/timeSeries":              "",
		"/v2/entries:list":                       "",
		"/openapi/devices.selvedge.dev.yaml":     "",
		"/functions/p/f/v1/projects/p/devices/d": "",
		"/healthz":                               "",
	} {
		require.Equal(t, want, r.serviceOf(path), path)
	}
}

// What no contract of today has: names go before any one, and any one before the
// rest.
func TestRoutes_Templates(t *testing.T) {
	t.Parallel()
	var b branch
	for template, domain := range map[string]string{
		"/v1/things":                         "things",
		"/v1/{name=things/*}":                "thing",
		"/v1/things/special":                 "special",
		"/v1/{name=things/*}:watch":          "watch",
		"/v1/{id}/{other}/parts":             "parts",
		"/v1/{name=files/**}":                "files",
		"/v1/{name=files/**}:read":           "read",
		"/v1/{name=files/*}/meta":            "meta",
		"/v1/{thing.name=shelves/*/books/*}": "book",
		"/v1/shelves/{shelf}/books":          "books",
	} {
		b.add(template, domain)
	}
	for path, want := range map[string]string{
		"v1/things":               "things",
		"v1/things/t":             "thing",
		"v1/things/special":       "special",
		"v1/things/special:watch": "watch",
		"v1/things/t/parts":       "parts",
		"v1/things/special/parts": "parts",
		"v1/files/a":              "files",
		"v1/files/a/b/c":          "files",
		"v1/files/a/b/c:read":     "read",
		"v1/files/a/meta":         "meta",
		"v1/files/a/meta/b":       "files",
		"v1/files":                "",
		"v1/shelves/s/books":      "books",
		"v1/shelves/s/books/b":    "book",
		"v1/shelves/s":            "",
	} {
		before, verb, ok := cutVerb(path)
		require.True(t, ok, path)
		require.Equal(t, want, b.find(before, verb), path)
	}
}

// FuzzRoutes checks that a path is of the service that sdk/gateway/rpc has do what is
// asked there, and of none if that has nobody do it.
func FuzzRoutes(f *testing.F) {
	known := platformServices(f)
	r := newRoutes(known)
	for _, s := range known {
		for _, m := range s.Methods {
			f.Add(http.MethodPost, m.Procedure())
			for _, d := range doorsOf(f, m) {
				f.Add(d.verb, d.path)
			}
		}
	}
	for _, path := range []string{"", "/", "*", ":", "/:", "/v1/:", "/v1/projects/**/devices/*", "/v1/projects/%2F/devices/%zz", "/v1/projects/a:b/devices/c:d:watch", "//", "/v1//projects", "/v1//roleBindings:watch"} {
		f.Add(http.MethodGet, path)
		f.Add(http.MethodPut, path)
	}
	type calledKey struct{}
	h := servers(f, func(ctx context.Context, domain string) { *ctx.Value(calledKey{}).(*string) = domain }, known...)
	f.Fuzz(func(t *testing.T, verb, path string) {
		got := r.serviceOf(path)
		require.Equal(t, got, r.serviceOf(path))
		if strings.HasPrefix(path, "/grpc.reflection.") { // which every program answers itself
			require.Empty(t, got)
			return
		}
		if strings.Contains(path, "//") { // func's server answers with where it is without
			return
		}
		var called string
		req := httptest.NewRequestWithContext(context.WithValue(t.Context(), calledKey{}, &called), http.MethodGet, "/", strings.NewReader("{}"))
		req.Method, req.URL = verb, &url.URL{Path: path}
		req.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), req)
		switch _, isCall := r.calls[strings.SplitN(path+"//", "/", 3)[1]]; {
		case called == nobody && !isCall && !strings.Contains(path, "%"): // or else it refuses the name
			require.Empty(t, got, "%s %q", verb, path)
		case called == nobody:
		case called == "": // it refused what was asked, before anybody did it
			require.NotEmpty(t, got, "%s %q", verb, path)
		default:
			require.Equal(t, called, got, "%s %q", verb, path)
		}
	})
}

// platformServices are the platform's own services.
func platformServices(t testing.TB) []*schema.Service {
	t.Helper()
	types, err := member.Types()
	require.NoError(t, err)
	return types.Services()
}
