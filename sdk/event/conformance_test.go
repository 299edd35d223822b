package event_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// TestConformance_HTTPProtocolBinding runs the scenarios that the CloudEvents
// project publishes for the HTTP protocol binding (cloudevents/conformance,
// features/http-protocol-binding.feature), from the bytes on the wire.
func TestConformance_HTTPProtocolBinding(t *testing.T) {
	t.Parallel()
	const data = `{"message":"Hello World!"}`
	binary := func(contentType string) string {
		return fmt.Sprintf("POST /someresource HTTP/1.1\r\nHost: example.com\r\nce-specversion: 1.0\r\nce-type: com.example.someevent\r\n"+
			"ce-time: 2018-04-05T03:56:24Z\r\nce-id: 1234-1234-1234\r\nce-source: /mycontext/subcontext\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			contentType, len(data), data)
	}
	structured := func(contentType string) string {
		body := `{"specversion":"1.0","type":"com.example.someevent","time":"2018-04-05T03:56:24Z","id":"1234-1234-1234",` +
			`"source":"/mycontext/subcontext","datacontenttype":"application/json","data":` + data + `}`
		return fmt.Sprintf("POST /someresource HTTP/1.1\r\nHost: example.com\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
	}
	for name, c := range map[string]struct{ wire, dataType string }{
		"binary":                 {binary("application/json"), "application/json"},
		"binary with charset":    {binary("application/json; charset=utf-8"), "application/json; charset=utf-8"},
		"structured":             {structured("application/cloudevents+json"), "application/json"},
		"structured, charset":    {structured("application/cloudevents+json; charset=utf-8"), "application/json"},
		"structured, upper case": {structured("Application/CloudEvents+JSON"), "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.wire)))
			require.NoError(t, err)
			items, _, err := event.FromRequest(r, event.Limits{})
			require.NoError(t, err)
			e := items[0].Event
			require.Equal(t, "1234-1234-1234", e.ID())
			require.Equal(t, "1.0", e.SpecVersion())
			require.Equal(t, "com.example.someevent", e.Type())
			require.Equal(t, "/mycontext/subcontext", e.Source())
			require.Equal(t, "2018-04-05T03:56:24Z", e.Time().Format("2006-01-02T15:04:05Z07:00"))
			require.Equal(t, c.dataType, e.DataContentType())
			require.JSONEq(t, data, string(e.Data()))
		})
	}
}
