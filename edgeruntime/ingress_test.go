package edgeruntime

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// own is the source of the device of the rig.
const own = "//selvedge.dev/projects/p/devices/d"

// send posts to the ingress of the rig's agent.
func (r *rig) send(body, contentType string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.agent.Ingress().ServeHTTP(w, req)
	return w
}

// What other programs post goes the way of the readings, through an outage.
func TestIngress_Modes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.platform.down = true
		r.start(t)
		rest(time.Second)

		w := r.send(string(textEvent("structured", "")), event.MediaStructured)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		w = r.send("\x00\x01", "application/octet-stream", "Ce-Specversion", "1.0", "Ce-Id", "binary", "Ce-Source", own, "Ce-Type", "t", "Ce-Unit", "7")
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		batch := "[" + string(textEvent("b1", "")) + `,{"id":"bad"},` +
			strings.Replace(string(textEvent("b2", "")), "devices/d", "devices/other", 1) + "," +
			strings.Replace(string(textEvent("b3", "")), `"type"`, `"selvedgeroute":"x","type"`, 1) + "," +
			string(textEvent("b4", "")) + "]"
		w = r.send(batch, event.MediaBatch)
		require.Equal(t, http.StatusMultiStatus, w.Code, w.Body)
		var verdicts []verdict
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &verdicts))
		var got []string
		for _, v := range verdicts {
			got = append(got, v.ID+" "+v.Status)
			if v.Status == ingestv1.StatusRejected {
				got = append(got, v.reason())
			}
		}
		require.Equal(t, []string{
			"b1 accepted", "bad rejected", "INVALID_EVENT", "b2 rejected", "SOURCE_NOT_OWN", "b3 rejected", "RESERVED_ATTRIBUTE", "b4 accepted",
		}, got)
		require.EqualValues(t, 5, r.agent.Status().Queue.Pending)

		r.platform.set(up)
		rest(2 * time.Minute)
		r.halt(t)
		require.Equal(t, []string{"structured", "binary", "b1", "b4"}, ids(r.platform.accepted)[1:])
		e := r.platform.accepted[2]
		require.Equal(t, []byte{0, 1}, e.Data())
		require.Equal(t, "7", event.Extension(&e, "unit"))
		require.False(t, e.Time().IsZero(), "an event without a time gets that of its arrival")

		w = r.send(string(textEvent("late", "")), event.MediaStructured)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, "the agent has stopped")
	})
}

func TestIngress_Refuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		disk := newMemory()
		r.config.fs = disk
		r.start(t)
		f := func(status int, reason string, w *httptest.ResponseRecorder) {
			t.Helper()
			require.Equal(t, status, w.Code, w.Body)
			require.Equal(t, reason, fault.ReasonOf(fault.Parse("", w.Code, w.Body.Bytes())))
		}
		f(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", r.send("hello", "text/plain"))
		f(http.StatusBadRequest, "INVALID_JSON", r.send("[", event.MediaBatch))
		f(http.StatusForbidden, "SOURCE_NOT_OWN", r.send(strings.Replace(string(textEvent("a", "")), own, "//x", 1), event.MediaStructured))
		f(http.StatusRequestEntityTooLarge, "TOO_LARGE", r.send(string(textEvent("a", strings.Repeat("x", 1<<20))), event.MediaStructured))
		// Bytes take a third more as JSON.
		f(http.StatusRequestEntityTooLarge, "OUT_OF_RANGE", r.send(strings.Repeat("\x00", 900<<10), "application/octet-stream",
			"Ce-Specversion", "1.0", "Ce-Id", "a", "Ce-Source", own, "Ce-Type", "t"))
		w := r.send(string(textEvent("a", "")), event.MediaStructured, "Sec-Fetch-Site", "cross-site")
		require.Equal(t, http.StatusForbidden, w.Code, "a page in a browser")

		disk.limit(-64 << 10) // even when a segment is given back
		disk.fail(errors.New("input/output error"))
		f(http.StatusServiceUnavailable, "UNAVAILABLE", r.send(string(textEvent("a", "")), event.MediaStructured))
		disk.fail(nil)
		w = r.send("["+string(textEvent("a", ""))+"]", event.MediaBatch)
		f(http.StatusTooManyRequests, journal.ReasonDiskFull, w)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		disk.unlimit()
		require.Equal(t, http.StatusAccepted, r.send(string(textEvent("a", "")), event.MediaStructured).Code)
		r.halt(t)
	})
}

// FuzzIngress posts anything: what is accepted can be read back from the queue
// with the same identity and data.
func FuzzIngress(f *testing.F) {
	f.Add(event.MediaStructured, "", "", textEvent("a", ""))
	f.Add(event.MediaStructured, "", "", []byte(`{"specversion":"1.0","id":"a","source":"`+own+`","type":"t","datacontenttype":"text/xml","data":"<a\u0000/>","n":1,"b":true}`))
	f.Add(event.MediaBatch, "", "", []byte(`[{"specversion":"1.0","id":"a","source":"`+own+`","type":"t","data_base64":"AAE="},{}]`))
	f.Add("application/json", "id 1", "%41\"", []byte(`{"x":1e400}`))
	f.Add("application/json; charset=utf-8", "ä", "", []byte(`"text"`))
	f.Add("text/plain", "x", "v", []byte("a\xffb"))
	f.Add("", "x", "", []byte(nil))
	r := newRig(&testing.T{})
	f.Fuzz(func(t *testing.T, contentType, id, extension string, body []byte) {
		c := r.config
		c.Dir, c.fs, c.MaxBytes, c.Logger = t.TempDir(), newMemory(), minMaxBytes, nil
		agent, err := New(c)
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, "/v1/events", bytes.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		if id != "" {
			for name, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": own, "Ce-Type": "t", "Ce-X": extension} {
				req.Header.Set(name, v)
			}
		}
		w := httptest.NewRecorder()
		items, _, _ := event.FromRequest(req.Clone(t.Context()), event.Limits{})
		req.Body = io.NopCloser(bytes.NewReader(body))
		agent.Ingress().ServeHTTP(w, req)

		var sent []event.Event
		for _, it := range items {
			if it.Err == nil && it.Event.Source() == own && event.FirstReserved(&it.Event) == "" {
				sent = append(sent, it.Event)
			}
		}
		var b journal.Batch
		require.NoError(t, agent.queue.journal.Read(0, &b, 1<<30))
		require.Equal(t, len(sent), b.Len(), "%d %s", w.Code, w.Body)
		for i, want := range sent {
			got, err := event.FromJSON(b.At(i).Data)
			require.NoError(t, err, "%s", b.At(i).Data)
			require.Equal(t, want.ID(), got.ID())
			require.Equal(t, want.Extensions(), got.Extensions())
			require.Equal(t, compact(want.DataEncoded), compact(got.DataEncoded))
		}
		require.NoError(t, agent.Close())
	})
}

// compact is data without white space between tokens, if it is JSON.
func compact(data []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return string(data)
	}
	return b.String()
}
