package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
)

// restDoor is plain HTTP with JSON, as somebody writes it who reads
// docs/resources.md.
type restDoor struct {
	url, key string
	http     *http.Client
}

// route is where a method is: {X} is a field of the request, body the field
// that is the body. All other fields are query parameters.
type route struct{ verb, path, body string }

// routes are the methods that are called over REST.
var routes = map[string]route{
	"DeviceService/GetDevice":          {"GET", "{name}", ""},
	"DeviceService/BatchGetDevices":    {"GET", "{parent}/devices:batchGet", ""},
	"DeviceService/ListDevices":        {"GET", "{parent}/devices", ""},
	"DeviceService/SearchDevices":      {"GET", "{parent}/devices:search", ""},
	"DeviceService/CreateDevice":       {"POST", "{parent}/devices", "device"},
	"DeviceService/UpdateDevice":       {"PATCH", "{device.name}", "device"},
	"DeviceService/DeleteDevice":       {"DELETE", "{name}", ""},
	"DeviceService/WatchDevices":       {"GET", "{parent}/devices:watch", ""},
	"Aliases/ResolveDevice":            {"GET", "{parent}/devices:resolve", ""},
	"Aliases/AddAlias":                 {"POST", "{name}:alias", "*"},
	"BlueprintService/CreateBlueprint": {"POST", "{parent}/blueprints", "blueprint"},
	"BlueprintService/DeleteBlueprint": {"DELETE", "{name}", ""},
}

// request writes a call down as an HTTP request.
func (d restDoor) request(ctx context.Context, method string, in proto.Message) (*http.Request, error) {
	r, ok := routes[method]
	if !ok {
		return nil, fmt.Errorf("no route for %s", method)
	}
	text, err := protojson.Marshal(in)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	body := io.Reader(http.NoBody)
	take := func(key string) any { v := fields[key]; delete(fields, key); return v }
	path, name := r.path, take("name")
	if object, ok := fields["device"].(map[string]any); ok {
		path = strings.ReplaceAll(path, "{device.name}", fmt.Sprint(object["name"]))
	}
	path = strings.NewReplacer("{name}", fmt.Sprint(name), "{parent}", fmt.Sprint(take("parent"))).Replace(path)
	if r.body != "" {
		content := any(fields)
		if r.body == "*" {
			fields = nil
		} else {
			content = take(r.body)
		}
		b, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	query := url.Values{}
	for key, v := range fields {
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		for _, v := range values {
			query.Add(key, fmt.Sprint(v))
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.verb, d.url+"/v1/"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if d.key != "" {
		req.Header.Set("Authorization", "Bearer "+d.key)
	}
	return req, nil
}

// call implements door.
func (d restDoor) call(ctx context.Context, method string, in, out proto.Message) error {
	req, err := d.request(ctx, method, in)
	if err != nil {
		return err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusalOfREST(resp.StatusCode, body)
	}
	return protojson.Unmarshal(body, out)
}

// words are the codes by google.rpc.Code's names.
var words = map[string]codes.Code{
	"INVALID_ARGUMENT": codes.InvalidArgument, "NOT_FOUND": codes.NotFound, "ALREADY_EXISTS": codes.AlreadyExists, "PERMISSION_DENIED": codes.PermissionDenied,
	"UNAUTHENTICATED": codes.Unauthenticated, "ABORTED": codes.Aborted, "FAILED_PRECONDITION": codes.FailedPrecondition, "UNAVAILABLE": codes.Unavailable,
	"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "INTERNAL": codes.Internal,
}

// refusalOfREST reads the body of google.aip.dev/193; status 0 is that of an
// event.
func refusalOfREST(httpStatus int, body []byte) error {
	var p struct {
		Error struct {
			Code            int
			Message, Status string
			Details         []struct {
				Type           string `json:"@type"`
				Reason, Domain string
				Metadata       map[string]string
			}
		}
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("status %d: %w: %s", httpStatus, err, body)
	}
	code, ok := words[p.Error.Status]
	if !ok || httpStatus != 0 && p.Error.Code != httpStatus || len(p.Error.Details) != 1 || p.Error.Details[0].Type != "type.googleapis.com/google.rpc.ErrorInfo" {
		return fmt.Errorf("status %d: not the body of an error: %s", httpStatus, body)
	}
	info := p.Error.Details[0]
	return &refusal{code, p.Error.Message, info.Reason, info.Domain, info.Metadata["field"], info.Metadata["name"]}
}

// watch implements door, by server-sent events.
func (d restDoor) watch(ctx context.Context, in *devicesv1.WatchDevicesRequest) iter.Seq2[*devicesv1.WatchDevicesResponse, error] {
	return func(yield func(*devicesv1.WatchDevicesResponse, error) bool) {
		req, err := d.request(ctx, watchDevices, in)
		if err != nil {
			yield(nil, err)
			return
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := d.http.Do(req)
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = resp.Body.Close() }() // cut off
		if resp.StatusCode != http.StatusOK {
			body, err := io.ReadAll(resp.Body)
			yield(nil, errors.Join(err, refusalOfREST(resp.StatusCode, body)))
			return
		}
		event := "message"
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			m, err := new(devicesv1.WatchDevicesResponse), error(nil)
			switch {
			case lines.Text() == "":
				event = "message"
				continue
			case field == "event":
				event = value
				continue
			case field != "data":
				continue
			case event == "error":
				err = refusalOfREST(0, []byte(value))
			default:
				err = protojson.Unmarshal([]byte(value), m)
			}
			if !yield(m, err) {
				return
			}
		}
		yield(nil, errors.Join(lines.Err(), errEnded))
	}
}

// TestResources_RESTAsWritten is what is sent and answered over plain HTTP,
// letter by letter: what the other tests decode and encode.
func TestResources_RESTAsWritten(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	f := func(method, path, body string, status int, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(bounded(t), method, p.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+process.AdminKey)
		if strings.HasPrefix(body, "{") {
			req.Header.Set("Content-Type", "application/json")
		} else if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what curl -d says by itself
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, "%s", got)
		require.Regexp(t, "^application/json", resp.Header.Get("Content-Type"))
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, got))
		require.Regexp(t, want, compact.String())
	}
	const stamps = `"createTime":"[^"]+Z","updateTime":"[^"]+Z","uid":"[^"]+","generation":"%d","resourceVersion":"[^"]+",`
	d1 := func(generation int, rest string) string {
		return `^\{"name":"projects/p/devices/d1","metadata":\{` + fmt.Sprintf(stamps, generation) +
			`"labels":\{"site":"north"\},"syncing":\{"owningRegion":"local","regions":\["local"\]\},"lifecycle":\{"state":"ACTIVE"\}\},` + rest + `\}$`
	}
	problem := func(code int, word, reason, metadata string) string {
		return fmt.Sprintf(`^\{"error":\{"code":%d,"message":".+","status":"%s","details":\[\{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"%s"%s\}\]\}\}$`,
			code, word, reason, fault.Domain, metadata)
	}
	f("POST", "/v1/projects/p/devices?deviceId=d1", `{"displayName":"Pump One","metadata":{"labels":{"site":"north"}}}`, 200, d1(1, `"displayName":"Pump One"`))
	f("POST", "/v1/projects/p/devices?device_id=d1", `{"display_name":"Pump"}`, 409, problem(409, "ALREADY_EXISTS", "ALREADY_EXISTS", `,"metadata":\{"name":"projects/p/devices/d1"\}`))
	f("GET", "/v1/projects/p/devices/d1", "", 200, d1(1, `"displayName":"Pump One"`))
	f("GET", "/v1/projects/p/devices/d1?readMask=name,displayName", "", 200, `^\{"name":"projects/p/devices/d1","displayName":"Pump One"\}$`)
	f("GET", "/v1/projects/p/devices/d1?view=NAME", "", 200, `^\{"name":"projects/p/devices/d1"\}$`)
	f("PATCH", "/v1/projects/p/devices/d1?updateMask=route", `{"route":"reason","displayName":"not in the mask"}`, 200, d1(2, `"displayName":"Pump One","route":"reason"`))
	f("PATCH", "/v1/projects/p/devices/d1", `{"route":"other"}`, 200, d1(3, `"displayName":"Pump One","route":"other"`))
	f("PATCH", "/v1/projects/p/devices/d1?updateMask=metadata.labels.camelCase", `{"metadata":{"labels":{"camelCase":"x"}}}`, 200, `"labels":\{"camelCase":"x","site":"north"\}`)
	f("PATCH", "/v1/projects/p/devices/d1?updateMask=*", `{"metadata":{"labels":{"site":"north"}}}`, 200, `"lifecycle":\{"state":"ACTIVE"\}\}\}$`)
	f("PATCH", "/v1/projects/p/devices/d1", `{"metadata":{"resourceVersion":"x"},"route":"r"}`, 409, problem(409, "ABORTED", "ETAG_MISMATCH", `,"metadata":.*`))
	f("PATCH", "/v1/projects/p/devices/d1", `{"rute":"x"}`, 400, problem(400, "INVALID_ARGUMENT", "UNKNOWN_FIELD", `,"metadata":\{"field":"rute"\}`))
	f("GET", "/v1/projects/p/devices?pageSize=1&includePagingInfo=true&view=NAME&filter=metadata.labels.site%3Dnorth", "", 200, `^\{"devices":\[\{"name":"projects/p/devices/d1"\}\],"pagingInfo":\{"total":"1"\}\}$`)
	f("GET", "/v1/projects/p/devices:batchGet?names=projects/p/devices/d1&names=projects/p/devices/no&allowMissing=true&view=NAME", "", 200,
		`^\{"devices":\[\{"name":"projects/p/devices/d1"\}\],"missing":\["projects/p/devices/no"\]\}$`)
	f("GET", "/v1/projects/p/devices?pageSize=many", "", 400, problem(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ""))
	f("GET", "/v1/projects/p/planets", "", 404, problem(404, "NOT_FOUND", "NO_SUCH_DOOR", ""))
	f("POST", "/v1/projects/p/devices", "displayName=Pump", 415, "Content-Type: application/json")
	f("PUT", "/v1/projects/p/devices", "", 405, problem(405, "INVALID_ARGUMENT", "METHOD_NOT_ALLOWED", ""))
	f("DELETE", "/v1/projects/p/devices/d1?validateOnly=true", "", 200,
		`^\{"consequences":\[\{"name":"projects/p/devices/d1","type":"devices.selvedge.dev/Device","effect":"DELETED","timing":"AT_ONCE"\}\]\}$`)
	f("DELETE", "/v1/projects/p/devices/d1", "", 200, `"effect":"DELETED"`)
	f("DELETE", "/v1/projects/p/devices/d1", "", 404, problem(404, "NOT_FOUND", "NOT_FOUND", `,"metadata":\{"name":"projects/p/devices/d1"\}`))
	f("DELETE", "/v1/projects/p/devices/d1?allowMissing=true", "", 200, `^\{\}$`)
}
