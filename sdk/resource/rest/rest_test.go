package rest_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource/rest"
)

// thing has one field of every shape that bodies have.
type thing struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Parts  []part            `json:"parts,omitempty"`
	Time   time.Time         `json:"time,omitzero"`
	Part   *part             `json:"part,omitempty"`
}

// part is an element of thing.
type part struct {
	Size int `json:"size"`
}

// post decodes body as a handler would.
func post(body string) (thing, error) {
	var v thing
	var err error
	h := rest.Handler(nil, func(r *http.Request) (any, error) {
		err = rest.Decode(r, &v)
		return rest.Empty{}, err
	})
	h(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	return v, err
}

func TestDecode_Whole(t *testing.T) {
	t.Parallel()
	v, err := post(` {"name":"n","labels":{"a":"1","name":"2"},"parts":[{"size":1},{"size":2}],"time":"2026-01-02T03:04:05Z","part":{"size":3}} `)
	require.NoError(t, err)
	require.Equal(t, thing{
		Name: "n", Labels: map[string]string{"a": "1", "name": "2"}, Parts: []part{{1}, {2}},
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Part: &part{3},
	}, v)
	v, err = post(`{"name":null,"labels":null,"parts":null,"part":null}`)
	require.NoError(t, err)
	require.Zero(t, v)
}

func TestDecode_NamesTheFieldAtFault(t *testing.T) {
	t.Parallel()
	f := func(body, field, reason string) {
		t.Helper()
		_, err := post(body)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{field, reason}, []string{e.Field, e.Reason}, "%v", err)
	}
	f(``, "body", "INVALID_JSON")
	f(`null`, "body", "INVALID_JSON")
	f(`[]`, "body", "INVALID_JSON")
	f(`{"name":"a"`, "body", "INVALID_JSON")
	f(`{"name":"a"} {}`, "body", "INVALID_JSON")
	f(strings.Repeat(`{"part":`, 20_000), "body", "INVALID_JSON")
	f(`{"time":"yesterday"}`, "body", "INVALID_JSON")
	f(`{"nome":"a"}`, "nome", "UNKNOWN_FIELD")
	f(`{"Name":"a"}`, "Name", "UNKNOWN_FIELD")
	f(`{"":"a"}`, "", "UNKNOWN_FIELD")
	f(`{"parts":[{"size":1},{"sise":1}]}`, "parts[1].sise", "UNKNOWN_FIELD")
	f(`{"part":{"x":{"y":1}}}`, "part.x", "UNKNOWN_FIELD")
	f(`{"name":"a","name":"b"}`, "name", "REPEATED_FIELD")
	f(`{"labels":{"a":"1","a":"2"}}`, "labels.a", "REPEATED_FIELD")
	f(`{"name":7}`, "name", "WRONG_TYPE")
	f(`{"parts":{}}`, "parts", "WRONG_TYPE")
	f(`{"parts":[{"size":1.5}]}`, "parts.size", "WRONG_TYPE")
}

func TestDecode_BoundsTheBody(t *testing.T) {
	t.Parallel()
	whole := `{"name":"` + strings.Repeat("a", rest.MaxBody-len(`{"name":""}`)) + `"}`
	_, err := post(whole)
	require.NoError(t, err)
	_, err = post(whole + " ")
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
}

// FuzzDecode holds Decode against the standard decoder, which it must never be
// laxer than.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"a"}`, `{"labels":{"a":"b"},"parts":[{"size":1}]}`, `{"part":{"size":1,"size":2}}`, `{"naMe":""}`, `[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if _, err := post(body); err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
			return
		}
		var v thing
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		require.NoError(t, dec.Decode(&v))
	})
}

func TestHandler_HidesAndLogsInternalErrors(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	h := rest.Handler(slog.New(slog.NewTextHandler(&log, nil)), func(*http.Request) (any, error) {
		return nil, errors.New("disk on fire")
	})
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "fire")
	require.Contains(t, log.String(), "disk on fire")
}

func TestPage_CutsAndContinues(t *testing.T) {
	t.Parallel()
	page := func(query string) (rest.Page, error) {
		return rest.PageOf(httptest.NewRequest(http.MethodGet, "/?"+query, nil))
	}
	p, err := page("")
	require.NoError(t, err)
	require.Equal(t, rest.Page{Size: 100}, p)
	p, err = page("pageSize=5000")
	require.NoError(t, err)
	require.Equal(t, 1000, p.Size)

	p, err = page("pageSize=2")
	require.NoError(t, err)
	key := func(s string) string { return s }
	items, next := rest.Cut(p, []string{"a", "b", "c"}, key)
	require.Equal(t, []string{"a", "b"}, items)
	p, err = page("pageSize=2&pageToken=" + next)
	require.NoError(t, err)
	require.Equal(t, rest.Page{Size: 2, After: "b"}, p)
	items, next = rest.Cut(p, []string{"c", "d"}, key)
	require.Equal(t, []string{"c", "d"}, items)
	require.Empty(t, next)

	for _, q := range []string{"pageSize=-1", "pageSize=x", "pageToken=*"} {
		_, err := page(q)
		require.Equal(t, fault.Invalid, fault.KindOf(err), q)
	}
}

func TestMask_Paths(t *testing.T) {
	t.Parallel()
	mask := func(query string) ([]string, error) {
		return rest.Mask(httptest.NewRequest(http.MethodPatch, "/?"+query, nil), []string{"a", "b"}, []string{"b"})
	}
	f := func(query string, want ...string) {
		t.Helper()
		got, err := mask(query)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("", "b")
	f("updateMask=*", "a", "b")
	f("updateMask=a", "a")
	f("updateMask=b,a", "b", "a")
	for _, q := range []string{"updateMask=", "updateMask=c", "updateMask=a,*", "updateMask=name"} {
		_, err := mask(q)
		require.Equal(t, fault.Invalid, fault.KindOf(err), q)
	}
}
