package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// accessOf is a project of one platform, with what the doors are about.
type accessOf struct {
	p       *process.Platform
	project string
}

// outcomes of a door: it did what it was asked, or why it did not.
const (
	passed200 = "ok"
	nobody401 = "401"
	denied403 = "403"
)

// ofStatus is the outcome of an HTTP answer.
func ofStatus(code int) string {
	if code/100 == 2 {
		return passed200
	}
	return fmt.Sprint(code)
}

// ofCode is the outcome of a gRPC answer.
func ofCode(err error) string {
	switch code := status.Code(err); code {
	case codes.OK:
		return passed200
	case codes.Unauthenticated:
		return nobody401
	case codes.PermissionDenied:
		return denied403
	default:
		return code.String()
	}
}

// reads are the doors that read, by name.
func (a accessOf) reads(t *testing.T) map[string]func(key string) string {
	t.Helper()
	device := "projects/" + a.project + "/devices/d1"
	http1 := func(path string, query url.Values) func(string) string {
		return func(key string) string {
			code, _ := send(t, a.p, key, httpCall{method: http.MethodGet, path: path + "?" + query.Encode()})
			return ofStatus(code)
		}
	}
	now := time.Now().UTC()
	interval := url.Values{"filter": {`metric.type = "x"`}, "interval.endTime": {now.Format(time.RFC3339)}}
	return map[string]func(string) string{
		"resources REST": http1("/v1/"+device, nil),
		"scripts":        http1("/v1/projects/"+a.project+"/scripts", nil),
		"state":          http1("/v1/projects/"+a.project+"/scripts/s:getState", url.Values{"key": {"k"}}),
		"timers":         http1("/v1/projects/"+a.project+"/timers", nil),
		"resources gRPC": func(key string) string {
			f := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, a.p.URL, key, nil)}
			return ofRefusal(f.door.call(f.ctx, "DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: device}, new(devicesv1.Device)))
		},
		"watch gRPC": func(key string) string {
			f := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, a.p.URL, key, nil)}
			_, err := first(f, "projects/"+a.project)
			return ofRefusal(err)
		},
		"watch SSE":       a.watchSSE(t),
		"monitoring REST": http1("/v3/projects/"+a.project+"/timeSeries", interval),
		"monitoring gRPC": func(key string) string {
			d := dialGRPC(t, a.p.URL, key, nil)
			_, err := monitoringpb.NewMetricServiceClient(d.conn).ListTimeSeries(d.authorized(bounded(t)), &monitoringpb.ListTimeSeriesRequest{
				Name: "projects/" + a.project, Filter: `metric.type = "x"`, Interval: &monitoringpb.TimeInterval{EndTime: timestamppb.New(now)},
			})
			return ofCode(err)
		},
		"PromQL":         http1("/prometheus/api/v1/query", url.Values{"query": {"up"}, "project": {a.project}}),
		"events":         http1("/v1/projects/"+a.project+"/events", nil),
		"audit configs":  http1("/v1/projects/"+a.project+"/auditConfigs", nil),
		"descriptors":    http1("/v1/projects/"+a.project+"/auditDescriptors", nil),
		"activity logs":  http1("/v1/projects/"+a.project+"/activityLogs", nil),
		"change logs":    http1("/v1/projects/"+a.project+"/resourceChangeLogs", nil),
		"audit trail":    http1("/v1/projects/"+a.project+"/auditTrail", url.Values{"from": {"1"}}),
		"trail's head":   http1("/v1/projects/"+a.project+"/auditTrail:head", nil),
		"buckets":        http1("/v1/projects/"+a.project+"/buckets", nil),
		"logs":           http1("/v2/projects/"+a.project+"/logs", nil),
		"entries REST":   a.aboutLogs(t, "/v2/entries:list"),
		"entries' count": a.aboutLogs(t, "/v2/entries:count"),
		"entries gRPC": func(key string) string {
			d := dialGRPC(t, a.p.URL, key, nil)
			_, err := loggingpb.NewLoggingServiceV2Client(d.conn).ListLogEntries(d.authorized(bounded(t)), &loggingpb.ListLogEntriesRequest{
				ResourceNames: []string{"projects/" + a.project},
			})
			return ofCode(err)
		},
		"entries as they come": func(key string) string {
			d := dialGRPC(t, a.p.URL, key, nil)
			ctx, cancel := context.WithTimeout(d.authorized(bounded(t)), 3*time.Second) // a refusal takes some milliseconds
			defer cancel()
			stream, err := loggingpb.NewLoggingServiceV2Client(d.conn).TailLogEntries(ctx)
			require.NoError(t, err)
			_ = stream.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{"projects/" + a.project}}) // why it failed, Recv says
			_, err = stream.Recv()
			if status.Code(err) == codes.DeadlineExceeded {
				return passed200 // it waits for what comes
			}
			return ofCode(err)
		},
		"losses":       http1("/v1/projects/"+a.project+"/losses", nil),
		"dead letters": http1("/v1/projects/"+a.project+"/deadLetters", nil),
		"dead letter":  a.absent(t, http.MethodGet, "/v1/projects/"+a.project+"/deadLetters/1"),
		"trace":        a.absent(t, http.MethodGet, "/v1/projects/"+a.project+"/events/none:trace"),
		"kubernetes":   http1("/k8s/apis/serving.knative.dev/v1/namespaces/"+a.project+"/services", nil),
		"pod logs":     a.absent(t, http.MethodGet, "/k8s/api/v1/namespaces/"+a.project+"/pods/none/log"),
		"images":       a.absent(t, http.MethodGet, "/v2/"+a.project+"/none/manifests/latest"),
	}
}

// aboutLogs is a door that is asked about the entries of the project.
func (a accessOf) aboutLogs(t *testing.T, path string) func(string) string {
	t.Helper()
	return func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, path, `{"resourceNames":["projects/` + a.project + `"]}`, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
}

// absent is a door that is asked for what is not there: who is told so may
// read.
func (a accessOf) absent(t *testing.T, method, path string) func(string) string {
	t.Helper()
	return func(key string) string {
		code, _ := send(t, a.p, key, httpCall{method: method, path: path})
		if code == http.StatusNotFound {
			return passed200
		}
		return ofStatus(code)
	}
}

// ofRefusal is the outcome of a call through a door.
func ofRefusal(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return ofCode(status.Error(r.code, r.message))
	}
	return ofCode(err)
}

// watchSSE is a watch by server-sent events, as far as its head.
func (a accessOf) watchSSE(t *testing.T) func(key string) string {
	t.Helper()
	return func(key string) string {
		ctx, cancel := context.WithCancel(bounded(t))
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.p.URL+"/v1/projects/"+a.project+"/devices:watch?type=STATELESS", nil)
		require.NoError(t, err)
		req.Header.Set("Accept", "text/event-stream")
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		cancel()
		_ = resp.Body.Close() // cut off
		return ofStatus(resp.StatusCode)
	}
}

// writers are the doors that write, by name.
func (a accessOf) writers(t *testing.T) map[string]func(key string) string {
	t.Helper()
	out := map[string]func(string) string{}
	for name, c := range writes(a.project, "access.example.com/m", "l", time.Now()) {
		out[name] = func(key string) string {
			code, _ := send(t, a.p, key, c)
			return ofStatus(code)
		}
	}
	out["resources REST"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPatch, "/v1/projects/" + a.project + "/devices/d1", `{"displayName":"x"}`, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	out["scripts"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPatch, "/v1/projects/" + a.project + "/scripts/s", `{"displayName":"x"}`, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	out["state"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v1/projects/" + a.project + "/scripts/s:putState", `{"key":"k","value":"MQ=="}`, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	out["timers"] = func(key string) string {
		body := `{"manifest":"apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: yearly}\nspec: {schedule: '@yearly'}"}`
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v1/projects/" + a.project + "/timers:applyPingSource", body, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	for name, c := range a.writesLogs() {
		out[name] = func(key string) string {
			code, _ := send(t, a.p, key, c)
			return ofStatus(code)
		}
	}
	out["entries gRPC"] = func(key string) string {
		d := dialGRPC(t, a.p.URL, key, nil)
		_, err := loggingpb.NewLoggingServiceV2Client(d.conn).WriteLogEntries(d.authorized(bounded(t)), &loggingpb.WriteLogEntriesRequest{
			LogName: "projects/" + a.project + "/logs/l", Entries: []*loggingpb.LogEntry{{InsertId: "grpc"}},
		})
		return ofCode(err)
	}
	out["a log"] = a.absent(t, http.MethodDelete, "/v2/projects/"+a.project+"/logs/none")
	out["buckets"] = a.absent(t, http.MethodDelete, "/v1/projects/"+a.project+"/buckets/none")
	out["replay"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v1/projects/" + a.project + "/deadLetters:replay", `{"trigger":"none"}`, nil})
		return ofStatus(code)
	}
	out["kubernetes"] = a.absent(t, http.MethodDelete, "/k8s/apis/eventing.knative.dev/v1/namespaces/"+a.project+"/triggers/none")
	out["secrets of functions"] = a.absent(t, http.MethodGet, "/k8s/api/v1/namespaces/"+a.project+"/secrets/none")
	out["images"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v2/" + a.project + "/matrix/blobs/uploads/", "", nil})
		return ofStatus(code)
	}
	// As somebody calls it from elsewhere: on its own machine it is open.
	out["a function"] = func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/functions/" + a.project + "/none", "", []string{"X-Forwarded-For: 192.0.2.1"}})
		if code == http.StatusNotFound {
			return passed200
		}
		return ofStatus(code)
	}
	out["monitoring gRPC"] = func(key string) string {
		d := dialGRPC(t, a.p.URL, key, nil)
		_, err := monitoringpb.NewMetricServiceClient(d.conn).DeleteMetricDescriptor(d.authorized(bounded(t)), &monitoringpb.DeleteMetricDescriptorRequest{
			Name: "projects/" + a.project + "/metricDescriptors/no.such.metric",
		})
		if status.Code(err) == codes.NotFound {
			return passed200 // past the permission
		}
		return ofCode(err)
	}
	return out
}

// writesLogs are requests that write an entry, by the door.
func (a accessOf) writesLogs() map[string]httpCall {
	header := []string{"Content-Type: application/json", "X-Selvedge-Project: " + a.project}
	now := fmt.Sprint(time.Now().UnixNano())
	return map[string]httpCall{
		"entries REST": {http.MethodPost, "/v2/entries:write", `{"entries":[{"logName":"projects/` + a.project + `/logs/l","textPayload":"x"}]}`, header[:1]},
		"entries OTLP": {http.MethodPost, "/v1/logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}`, header},
		"entries Loki": {http.MethodPost, "/loki/api/v1/push", `{"streams":[{"stream":{"a":"b"},"values":[["` + now + `","x"]]}]}`, header},
	}
}

// publish posts an event of the device d1.
func (a accessOf) publish(t *testing.T, key string) string {
	t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"//selvedge.dev/projects/%s/devices/d1","type":"x","data":{"v":1}}`, time.Now().UnixNano(), a.project)
	code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v1/events", body, []string{"Content-Type: application/cloudevents+json"}})
	broker, _ := send(t, a.p, key, httpCall{http.MethodPost, "/brokers/" + a.project + "/default", body, []string{"Content-Type: application/cloudevents+json"}})
	require.Equal(t, code, broker, "the door of the broker lets the same in")
	return ofStatus(code)
}

// account makes a service account in a project, and returns its member.
func (a accessOf) account(t *testing.T, project, id string) (name string) {
	t.Helper()
	call(t, a.p, http.MethodPost, "/v1/projects/"+project+"/serviceAccounts", url.Values{"serviceAccountId": {id}}, map[string]any{"displayName": id}, nil)
	return "projects/" + project + "/serviceAccounts/" + id
}

// key makes a key of a service account.
func (a accessOf) key(t *testing.T, account, id string) string {
	t.Helper()
	var made struct{ Secret string }
	call(t, a.p, http.MethodPost, "/v1/"+account+"/serviceAccountKeys", url.Values{"serviceAccountKeyId": {id}}, map[string]any{}, &made)
	require.True(t, strings.HasPrefix(made.Secret, "svk_"))
	return made.Secret
}

// bind gives a service account a role in a scope.
func (a accessOf) bind(t *testing.T, scope, id, role, account string) {
	t.Helper()
	path := "/v1/roleBindings"
	if scope != "" {
		path = "/v1/" + scope + "/roleBindings"
	}
	call(t, a.p, http.MethodPost, path, url.Values{"roleBindingId": {id}}, map[string]any{"role": role, "members": []string{"serviceAccount:" + account}}, nil)
}

// builtIn is what the names of the built-in roles begin with.
const builtIn = "services/iam.selvedge.dev/roles/"

// everybody makes the devices d1 and d2 and a key of every kind of principal.
func (a accessOf) everybody(t *testing.T) map[string]string {
	t.Helper()
	call(t, a.p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d1"}}, map[string]any{}, nil)
	call(t, a.p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d2"}}, map[string]any{}, nil)
	call(t, a.p, http.MethodPost, "/v1/projects/p/scripts", url.Values{"scriptId": {"s"}}, map[string]any{"function": "f"}, nil)
	call(t, a.p, http.MethodPost, "/v1/projects/p/scripts/s:putState", nil, map[string]any{"key": "k", "value": "MQ=="}, nil)
	keys := map[string]string{
		"anonymous": "", "administrator's key": adminKey, "key of the project": keyOf(t, a.p, "projects/p"), "key of another project": keyOf(t, a.p, "projects/q"),
		"the device": keyOf(t, a.p, "projects/p/devices/d1"), "another device": keyOf(t, a.p, "projects/p/devices/d2"),
		"no key": "svk_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	}
	robot := a.account(t, "p", "robot")
	a.bind(t, "projects/p", "robot", builtIn+"administrator", robot)
	keys["account of the project"] = a.key(t, robot, "good")
	keys["expired key"], keys["revoked key"] = a.key(t, robot, "old"), a.key(t, robot, "gone")
	call(t, a.p, http.MethodPatch, "/v1/"+robot+"/serviceAccountKeys/old", nil, map[string]any{"notAfter": "2020-01-01T00:00:00Z"}, nil)
	call(t, a.p, http.MethodDelete, "/v1/"+robot+"/serviceAccountKeys/gone", nil, nil, nil)
	off := a.account(t, "p", "off")
	a.bind(t, "projects/p", "off", builtIn+"administrator", off)
	keys["disabled account"] = a.key(t, off, "k")
	call(t, a.p, http.MethodPatch, "/v1/"+off, nil, map[string]any{"disabled": true}, nil)
	foreign := a.account(t, "q", "robot")
	a.bind(t, "projects/q", "robot", builtIn+"administrator", foreign)
	keys["account of another project"] = a.key(t, foreign, "k")
	call(t, a.p, http.MethodPost, "/v1/projects/p/roles", url.Values{"roleId": {"little"}}, map[string]any{"grants": []any{map[string]any{"permissions": []string{"iam.roles.get"}}}}, nil)
	member := a.account(t, "p", "member")
	a.bind(t, "projects/p", "member", "projects/p/roles/little", member)
	keys["member without the permission"] = a.key(t, member, "k")
	reader := a.account(t, "q", "reader")
	a.bind(t, "projects/p", "reader", builtIn+"viewer", reader)
	keys["viewer"] = a.key(t, reader, "k")
	top := a.account(t, "q", "top")
	a.bind(t, "", "top", builtIn+"administrator", top)
	keys["administrator"] = a.key(t, top, "k")
	return keys
}

// TestAccess_EveryDoorForEverybody is the matrix: every door, for every kind of
// principal. SPEC A3
func TestAccess_EveryDoorForEverybody(t *testing.T) {
	t.Parallel()
	a := accessOf{start(t, t.TempDir()), "p"}
	everyDoor(t, a, a.everybody(t), func(string) bool { return true })
	stop(t, a.p)
}

// everyDoor has everybody go through the doors of a platform, as far as it has them.
func everyDoor(t *testing.T, a accessOf, keys map[string]string, has func(door string) bool) {
	t.Helper()
	// What everybody gets who reads, who writes, and who posts an event of d1.
	want := map[string][3]string{
		"anonymous": {nobody401, nobody401, nobody401}, "no key": {nobody401, nobody401, nobody401},
		"expired key": {nobody401, nobody401, nobody401}, "revoked key": {nobody401, nobody401, nobody401}, "disabled account": {nobody401, nobody401, nobody401},
		"the device": {denied403, denied403, passed200}, "another device": {denied403, denied403, denied403},
		"key of another project": {denied403, denied403, denied403}, "account of another project": {denied403, denied403, denied403},
		"member without the permission": {denied403, denied403, denied403},
		"viewer":                        {passed200, denied403, denied403},
		"key of the project":            {passed200, passed200, passed200}, "account of the project": {passed200, passed200, passed200},
		"administrator's key": {passed200, passed200, passed200}, "administrator": {passed200, passed200, passed200},
	}
	require.Len(t, keys, len(want))
	for who, key := range keys {
		for name, door := range a.reads(t) {
			if has(name) {
				require.Equal(t, want[who][0], door(key), "%s reads by %s", who, name)
			}
		}
		for name, door := range a.writers(t) {
			if has(name) {
				require.Equal(t, want[who][1], door(key), "%s writes by %s", who, name)
			}
		}
		require.Equal(t, want[who][2], a.publish(t, key), "%s posts an event", who)
	}
}

// The registry, for every kind of principal: everybody reads the regions and the
// platform's own services, and nobody changes them but the administrator's key; a
// service is made by an account that has the role for it, and by nobody else.
// SPEC A3, 1.F 10
func TestAccess_Registry(t *testing.T) {
	t.Parallel()
	a := accessOf{start(t, t.TempDir()), "p"}
	keys := a.everybody(t)
	maker := a.account(t, "p", "maker")
	a.bind(t, "", "maker", builtIn+"service", maker)
	keys["account that makes services"] = a.key(t, maker, "k")
	create := func(key string) string {
		code, _ := send(t, a.p, key, httpCall{
			http.MethodPost, "/v1/services?serviceId=acme.example.com&validateOnly=true",
			`{"multiRegionPolicy":{"enabledRegions":["local"],"defaultControlRegion":"local"},"versions":[{"version":"v1"}]}`,
			[]string{"Content-Type: application/json"},
		})
		return ofStatus(code)
	}
	get := func(path string) func(string) string {
		return func(key string) string {
			code, _ := send(t, a.p, key, httpCall{method: http.MethodGet, path: path})
			return ofStatus(code)
		}
	}
	update := func(key string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPatch, "/v1/services/devices.selvedge.dev?validateOnly=true", `{"displayName":"x"}`, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	for who, key := range keys {
		want := []string{passed200, passed200, passed200, denied403, denied403}
		switch who {
		case "anonymous", "no key", "expired key", "revoked key", "disabled account":
			want = []string{nobody401, nobody401, nobody401, nobody401, nobody401}
		case "administrator's key":
			want[4] = passed200
		case "administrator", "account that makes services": // accounts, of projects that own no service yet
			want[3] = passed200
		}
		got := []string{get("/v1/regions/local")(key), get("/v1/services/devices.selvedge.dev")(key), get("/v1/services/devices.selvedge.dev/deployments")(key), create(key), update(key)}
		require.Equal(t, want, got, who)
	}
	stop(t, a.p)
}

// A role may depend on what is asked for. SPEC A3
func TestAccess_RequestFields(t *testing.T) {
	t.Parallel()
	a := accessOf{start(t, t.TempDir()), "p"}
	robot := a.account(t, "p", "robot")
	key := a.key(t, robot, "k")
	call(t, a.p, http.MethodPost, "/v1/projects/p/roles", url.Values{"roleId": {"maker"}}, map[string]any{"grants": []any{map[string]any{
		"permissions":   []string{"devices.devices.create"},
		"requestFields": []any{map[string]any{"path": "device.route", "values": []string{"writer"}}},
	}}}, nil)
	a.bind(t, "projects/p", "b", "projects/p/roles/maker", robot)
	create := func(id, body string) string {
		code, _ := send(t, a.p, key, httpCall{http.MethodPost, "/v1/projects/p/devices?deviceId=" + id, body, []string{"Content-Type: application/json"}})
		return ofStatus(code)
	}
	require.Equal(t, passed200, create("d1", `{"route":"writer"}`))
	require.Equal(t, denied403, create("d2", `{"route":"other"}`))
	require.Equal(t, denied403, create("d3", `{}`))
	stop(t, a.p)
}

// A revocation bites at every door as soon as it is answered. SPEC A3
func TestAccess_RevocationBites(t *testing.T) {
	t.Parallel()
	a := accessOf{start(t, t.TempDir()), "p"}
	call(t, a.p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d1"}}, map[string]any{}, nil)
	call(t, a.p, http.MethodPost, "/v1/projects/p/scripts", url.Values{"scriptId": {"s"}}, map[string]any{"function": "f"}, nil)
	call(t, a.p, http.MethodPost, "/v1/projects/p/scripts/s:putState", nil, map[string]any{"key": "k", "value": "MQ=="}, nil)
	robot := a.account(t, "p", "robot")
	key := a.key(t, robot, "k")
	all := func(want string) {
		t.Helper()
		for name, door := range a.reads(t) {
			require.Equal(t, want, door(key), name)
		}
		for name, door := range a.writers(t) {
			require.Equal(t, want, door(key), name)
		}
		require.Equal(t, want, a.publish(t, key))
	}
	all(denied403)
	a.bind(t, "projects/p", "b", builtIn+"administrator", robot)
	all(passed200)
	call(t, a.p, http.MethodDelete, "/v1/projects/p/roleBindings/b", nil, nil, nil)
	all(denied403)

	// A denial says which permission is missing, where. SPEC A3
	code, body := send(t, a.p, key, httpCall{method: http.MethodGet, path: "/v1/projects/p/devices/d1"})
	require.Equal(t, http.StatusForbidden, code)
	for _, text := range []string{`"PERMISSION_DENIED"`, `"devices.devices.get"`, robot} {
		require.Contains(t, body, text)
	}
	stop(t, a.p)
}

// What one platform grants and revokes holds on another one on the same database
// within a second, as a rule also where much else runs. SPEC A3
func TestAccess_RevocationBitesElsewhere(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t, pgtest.DSN(t))
	first := accessOf{start(t, t.TempDir(), "--database", database), "p"}
	second := accessOf{start(t, t.TempDir(), "--database", database), "p"}
	robot := first.account(t, "p", "robot")
	key := first.key(t, robot, "k")
	const within = 10 * time.Second
	var took []time.Duration
	eventually := func(want int) {
		t.Helper()
		begin := time.Now()
		require.Eventually(t, func() bool {
			code, _ := send(t, second.p, key, httpCall{method: http.MethodGet, path: "/v1/projects/p/devices"})
			return code == want
		}, within, time.Millisecond)
		took = append(took, time.Since(begin))
	}
	for range 5 {
		eventually(http.StatusForbidden)
		first.bind(t, "projects/p", "b", builtIn+"viewer", robot)
		eventually(http.StatusOK)
		call(t, first.p, http.MethodDelete, "/v1/projects/p/roleBindings/b", nil, nil, nil)
	}
	call(t, first.p, http.MethodDelete, "/v1/"+robot+"/serviceAccountKeys/k", nil, nil, nil)
	eventually(http.StatusUnauthorized)
	slices.Sort(took)
	require.Less(t, took[len(took)/2], time.Second, "%v", took)
	stop(t, first.p)
	stop(t, second.p)
}

// The keys of a device end with it also at a platform that was away while another one
// on the same database deleted it, and did not know of them. SPEC A3
func TestAccess_KeysEndElsewhere(t *testing.T) {
	t.Parallel()
	database, data := pgtest.Database(t, pgtest.DSN(t)), t.TempDir()
	first, second := start(t, data, "--database", database), start(t, t.TempDir(), "--database", database)
	keys := map[string]string{}
	for _, id := range []string{"stays", "goes", "again"} {
		call(t, first, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {id}}, map[string]any{}, nil)
		var made struct{ Key string }
		call(t, first, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": "projects/p/devices/" + id}, &made)
		keys[id] = made.Key
	}
	stop(t, first)
	for _, id := range []string{"goes", "again"} {
		call(t, second, http.MethodDelete, "/v1/projects/p/devices/"+id, nil, nil, nil)
	}
	call(t, second, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"again"}}, map[string]any{}, nil)
	stop(t, second) // it is done with all of it, and has told the database so

	first = start(t, data, "--database", database)
	for id, want := range map[string]int{"stays": http.StatusOK, "goes": http.StatusUnauthorized, "again": http.StatusUnauthorized} {
		code, text := send(t, first, keys[id], httpCall{method: http.MethodGet, path: "/v1/permissions:mine"})
		require.Equal(t, want, code, "%s: %s", id, text)
	}
	stop(t, first)
}

// What people type about permissions, as docs/iam.md has it. SPEC A3
func TestAccess_CommandLine(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := shellOf(t, p)
	c.ok("create", "serviceAccounts/robot")
	c.ok("create", "roles/reader", "--set", `grants=[{"permissions": ["devices.devices.get", "devices.devices.list"]}]`)
	c.ok("create", "projects/default/roleBindings/b1", "--set", "role=projects/default/roles/reader", "--set", `members=["serviceAccount:projects/default/serviceAccounts/robot"]`)
	made := c.ok("create", "projects/default/serviceAccounts/robot/serviceAccountKeys/k1", "-o", "yaml")
	_, secret, found := strings.Cut(made, "secret: ")
	require.True(t, found, made)
	require.NotContains(t, c.ok("get", "projects/default/serviceAccounts/robot/serviceAccountKeys/k1", "-o", "yaml"), "secret:")

	robot := newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+strings.TrimSpace(secret))
	require.Equal(t, "devices.devices.get\n", robot.ok("iam", "test-permissions", "devices.devices.get", "devices.devices.delete"))
	require.Contains(t, robot.ok("iam", "permissions"), "devices.devices.list")
	require.NotContains(t, robot.ok("iam", "permissions"), "devices.devices.delete")
	require.Contains(t, robot.ok("iam", "explain", "devices.devices.get"), "projects/default/roleBindings/b1")
	require.Contains(t, robot.ok("iam", "explain", "devices.devices.get", "/"), "no")
	robot.fails(1, "iam.access.explain", "iam", "explain", "devices.devices.get", "--member", "user:ada@example.com")
	robot.fails(1, "devices.devices.delete", "delete", "devices/d1")
	robot.fails(2, "PERMISSION is missing", "iam", "explain")
	why := c.ok("iam", "explain", "devices.devices.delete", "projects/default/devices/d1", "--member", "serviceAccount:projects/default/serviceAccounts/robot")
	require.Contains(t, why, "projects/default/roleBindings/b1 to projects/default/roles/reader, grant 0: fails PERMISSION")
	require.Contains(t, why, builtIn+"project-editor")
	stop(t, p)
}
