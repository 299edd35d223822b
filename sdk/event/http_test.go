package event_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// request is a POST with these headers, given as name and value in turn.
func request(body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

const one = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`

func TestFromRequest_Modes(t *testing.T) {
	t.Parallel()
	f := func(mode event.Mode, n int, r *http.Request) {
		t.Helper()
		items, got, err := event.FromRequest(r, event.Limits{})
		require.NoError(t, err)
		require.Equal(t, mode, got)
		require.Len(t, items, n)
		for _, it := range items {
			require.NoError(t, it.Err)
			require.Equal(t, "1", it.Event.ID())
			require.JSONEq(t, `{"a":1}`, string(it.Event.Data()))
		}
	}
	binary := []string{"Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}
	f(event.Binary, 1, request(`{"a":1}`, binary...))
	f(event.Structured, 1, request(one, "Content-Type", "application/cloudevents+json; charset=UTF-8"))
	f(event.Batch, 2, request("["+one+","+one+"]", "Content-Type", "application/cloudevents-batch+json"))
	f(event.Batch, 0, request("[]", "Content-Type", "application/cloudevents-batch+json; charset=utf-8"))
}

func TestFromRequest_BatchKeepsGoodOnes(t *testing.T) {
	t.Parallel()
	items, _, err := event.FromRequest(request("["+one+`,{"id":"2"},`+one+`,7]`, "Content-Type", event.MediaBatch), event.Limits{Event: len(one)})
	require.NoError(t, err)
	require.Len(t, items, 4)
	require.NoError(t, items[0].Err)
	require.Equal(t, fault.Invalid, fault.KindOf(items[1].Err))
	require.NoError(t, items[2].Err)
	require.Equal(t, fault.Invalid, fault.KindOf(items[3].Err))
}

func TestFromRequest_Refuses(t *testing.T) {
	t.Parallel()
	f := func(status int, field string, r *http.Request) {
		t.Helper()
		_, _, err := event.FromRequest(r, event.Limits{Body: 100, Event: 80})
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, status, e.Kind.HTTPStatus(), "%v", err)
		require.Equal(t, field, e.Field, "%v", err)
	}
	structured := []string{"Content-Type", event.MediaStructured}
	f(415, "content-type", request(`{}`, "Content-Type", "application/json"))
	f(415, "content-type", request(``))
	f(415, "content-type", request(`x`, "Content-Type", "application/cloudevents+avro"))
	f(415, "content-type", request(`x`, "Content-Type", "application/cloudevents+json; charset=utf-16"))
	f(415, "content-encoding", request(one, append(structured, "Content-Encoding", "gzip")...))
	f(413, "body", request(strings.Repeat(" ", 101), structured...))
	f(413, "event", request(strings.Replace(one, `"a"`, `"aaaaaaaaaaaaaaaaa"`, 1), structured...))
	f(400, "body", request(`{"id":`, structured...))
	f(400, "body", request(`{}`, "Content-Type", event.MediaBatch))
	f(400, "specversion", request(``, "ce-id", "1", "ce-source", "/s", "ce-type", "t"))
	f(400, "id", request(``, "ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"))
	f(400, "id", request(``, "ce-specversion", "1.0", "ce-id", "1", "ce-id", "2", "ce-source", "/s", "ce-type", "t"))
	f(400, "data", request(`{"a":`, "Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"))
	f(400, "time", request(``, "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-time", "now"))
	f(400, "datacontenttype", request(``, "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-datacontenttype", "a/b"))
	f(503, "body", httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("{"), cut{})))
}

// cut is a body whose connection breaks.
type cut struct{}

// Read implements io.Reader.
func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBinary_RoundTripOfAnyEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(e.Data()))
		require.NoError(t, event.SetHeaders(r.Header, &e))
		items, _, err := event.FromRequest(r, event.Limits{})
		require.NoError(t, err)
		got := items[0].Event
		require.Equal(t, e.ID(), got.ID())
		require.Equal(t, e.Type(), got.Type())
		require.Equal(t, e.Source(), got.Source())
		require.Equal(t, e.Subject(), got.Subject())
		require.True(t, e.Time().Equal(got.Time()))
		require.Equal(t, e.Data(), got.Data())
		for name := range e.Extensions() {
			require.Equal(t, event.Extension(&e, name), event.Extension(&got, name))
		}
	})
}

// TestBinary_AnyDataHasAFormInJSON posts data of no declared type that is no
// JSON: as an event in JSON it is in base64, and the same bytes.
func TestBinary_AnyDataHasAFormInJSON(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{"a":1}`, `A`, "\xff", `"\xff"`, `1 2`} {
		items, _, err := event.FromRequest(request(data, "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"), event.Limits{})
		require.NoError(t, err)
		text, err := json.Marshal(items[0].Event)
		require.NoError(t, err)
		back, err := event.FromJSON(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, data, string(back.Data()))
	}
}

func TestFromResponse_NoEventIsNil(t *testing.T) {
	t.Parallel()
	for _, r := range []*http.Response{
		{Body: http.NoBody, Header: http.Header{}},
		{Body: http.NoBody, Header: http.Header{}, ContentLength: -1},
	} {
		e, err := event.FromResponse(r, event.Limits{})
		require.NoError(t, err)
		require.Nil(t, e)
	}
	_, err := event.FromResponse(&http.Response{Body: io.NopCloser(strings.NewReader("ok")), ContentLength: 2, Header: http.Header{"Content-Type": {"text/plain"}}}, event.Limits{})
	require.Error(t, err)
}

// The channels of Knative tell a dead letter sink the body of an answer that
// had none by an attribute that has none.
func TestFromRequest_ExtensionWithoutAValueIsNone(t *testing.T) {
	t.Parallel()
	items, _, err := event.FromRequest(request(`{}`, "Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t",
		"ce-knativeerrordata", "", "ce-knativeerrorcode", "500"), event.Limits{})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"knativeerrorcode": "500"}, items[0].Event.Extensions())
}
