package event_test

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

func TestFromJSON_Accepts(t *testing.T) {
	t.Parallel()
	e, err := event.FromJSON([]byte(` {
		"specversion": "1.0", "id": "A\u00e91", "source": "//selvedge.dev/projects/p/devices/d", "type": "com.example.climate",
		"subject": "room", "time": "2026-03-01T12:00:00.25+01:00", "datacontenttype": "application/json",
		"dataschema": "https://example.com/s", "count": -7, "flag": true, "word": "x", "absent": null,
		"data": {"temperature": 21.5, "a": [1, {"b": null}]} } `))
	require.NoError(t, err)
	require.NoError(t, e.Validate(), "the SDK agrees")
	require.Equal(t, "Aé1", e.ID())
	require.Equal(t, "//selvedge.dev/projects/p/devices/d", e.Source())
	require.Equal(t, "com.example.climate", e.Type())
	require.Equal(t, "room", e.Subject())
	require.Equal(t, time.Date(2026, 3, 1, 11, 0, 0, 250e6, time.UTC), e.Time().UTC())
	require.Equal(t, map[string]any{"count": int32(-7), "flag": true, "word": "x"}, e.Extensions())
	require.JSONEq(t, `{"temperature": 21.5, "a": [1, {"b": null}]}`, string(e.Data()))
}

func TestFromJSON_Data(t *testing.T) {
	t.Parallel()
	const head = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
	f := func(rest, want string, base64 bool) {
		t.Helper()
		e, err := event.FromJSON([]byte(head + rest + "}"))
		require.NoError(t, err, rest)
		require.Equal(t, want, string(e.Data()), rest)
		require.Equal(t, base64, e.DataBase64, rest)
	}
	f(``, "", false)
	f(`,"data":null`, "null", false)
	f(`,"data":"text"`, `"text"`, false)
	f(`,"datacontenttype":"text/plain","data":"a\nb"`, "a\nb", false)
	f(`,"data":"<x/>","datacontenttype":"application/xml"`, "<x/>", false)
	f(`,"datacontenttype":"application/vnd.x+json","data":[1]`, "[1]", false)
	f(`,"data_base64":"AAEC"`, "\x00\x01\x02", true)
}

func TestFromJSON_StringsMeanWhatTheyMeanToEncodingJSON(t *testing.T) {
	t.Parallel()
	f := func(raw string) {
		t.Helper()
		var want string
		require.NoError(t, json.Unmarshal([]byte(`"`+raw+`"`), &want))
		e, err := event.FromJSON([]byte(`{"specversion":"1.0","i\u0064":"` + raw + `","source":"/s","type":"t","x":"` + raw +
			`","datacontenttype":"text/plain","data":"` + raw + `"}`))
		require.NoError(t, err, raw)
		require.Equal(t, want, e.ID(), raw)
		require.Equal(t, want, e.Extensions()["x"], raw)
		require.Equal(t, want, string(e.Data()), raw)
	}
	f(`A\u00e9\/\"\\`)
	f(`\ud83d\ude00`)
}

func TestFromJSON_DoesNotKeepTheText(t *testing.T) {
	t.Parallel()
	text := []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"y","data":{"a":1}}`)
	kept := weak.Make(&text[0])
	e, err := event.FromJSON(text)
	require.NoError(t, err)
	runtime.GC()
	require.Nil(t, kept.Value())
	require.JSONEq(t, `{"a":1}`, string(e.Data()))
}

func TestFromJSON_NamesTheAttributeAtFault(t *testing.T) {
	t.Parallel()
	f := func(text, field string) {
		t.Helper()
		_, err := event.FromJSON([]byte(text))
		var e *fault.Error
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, fault.Invalid, e.Kind, text)
		require.Equal(t, field, e.Field, text)
	}
	f(``, "body")
	f(`[]`, "body")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t"`, "body")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t"} x`, "body")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":01}}`, "body")
	f(`{"id":"1","source":"/s","type":"t"}`, "specversion")
	f(`{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "specversion")
	f(`{"specversion":"1.0","source":"/s","type":"t"}`, "id")
	f(`{"specversion":"1.0","id":"","source":"/s","type":"t"}`, "id")
	f(`{"specversion":"1.0","id":7,"source":"/s","type":"t"}`, "id")
	f(`{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}`, "id")
	f(`{"specversion":"1.0","id":"1","type":"t"}`, "source")
	f(`{"specversion":"1.0","id":"1","source":"%zz","type":"t"}`, "source")
	f(`{"specversion":"1.0","id":"1","source":"/s"}`, "type")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"a\u0007b"}`, "type")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":""}`, "subject")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"yesterday"}`, "time")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","dataschema":"/relative"}`, "dataschema")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"a/b/c"}`, "datacontenttype")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","Upper":"x"}`, "Upper")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","snake_case":"x"}`, "snake_case")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1.5}`, "x")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":{}}`, "x")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1,"x":2}`, "x")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"d\u0061ta":2}`, "data")
	f("{\"specversion\":\"1.0\",\"id\":\"a\xff\",\"source\":\"/s\",\"type\":\"t\"}", "body")
	f(`{"specversion":"1.0","id":"\ud83d","source":"/s","type":"t"}`, "id")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"!"}`, "data_base64")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}`, "data_base64")
	f(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":{}}`, "data")
}

func TestFromJSON_FaultComesWithWhatWasRead(t *testing.T) {
	t.Parallel()
	e, err := event.FromJSON([]byte(`{"id":"17","source":"/s","time":"x"}`))
	require.Error(t, err)
	require.Equal(t, "17", e.ID())
	require.Equal(t, "/s", e.Source())
}

func TestSplitJSON_OneBadElementLeavesTheOthers(t *testing.T) {
	t.Parallel()
	texts, err := event.SplitJSON([]byte(` [ {"a":[1,2]} , 7, "x,]" ] `))
	require.NoError(t, err)
	require.Len(t, texts, 3)
	require.JSONEq(t, `{"a":[1,2]}`, string(texts[0]))
	require.Equal(t, `"x,]"`, string(texts[2]))
	texts, err = event.SplitJSON([]byte(`[]`))
	require.NoError(t, err)
	require.Empty(t, texts)
	for _, bad := range []string{``, `{}`, `[1`, `[1,]`, `[1] 2`, `[1 2]`} {
		_, err := event.SplitJSON([]byte(bad))
		require.Error(t, err, bad)
	}
}

// FuzzFromJSON checks that the decoder accepts no text that is not JSON, and
// that what it accepts survives the SDK's encoder and this decoder.
func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1,"data":{"a":[true,null,-1.5e3,"\u00e9"]}}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAEC","time":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := event.FromJSON(text)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.True(t, json.Valid(text))
		record, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		back, err := event.FromRecord(record)
		require.NoError(t, err)
		again, err := event.AppendRecord(nil, &back)
		require.NoError(t, err)
		require.Equal(t, record, again)
	})
}

// FuzzSplitJSON checks that exactly the JSON arrays are split, up to the bound
// on nesting.
func FuzzSplitJSON(f *testing.F) {
	f.Add([]byte(`[{"a":1},2,"x"]`))
	f.Add([]byte(`[[[]], -0.0e-1, "\ud800", tru]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		texts, err := event.SplitJSON(text)
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			require.Error(t, err)
			return
		}
		if err != nil {
			require.ErrorContains(t, err, "nested deeper")
			return
		}
		require.Len(t, texts, len(want))
		for i := range want {
			require.Equal(t, string(want[i]), string(texts[i]))
		}
	})
}

func BenchmarkFromJSON(b *testing.B) {
	text := []byte(`{"specversion":"1.0","id":"0123456789","source":"//selvedge.dev/projects/p/devices/device-17","type":"com.example.climate","time":"2026-03-01T12:00:00.25Z","datacontenttype":"application/json","data":{"temperature":21.5,"humidity":40,"pressure":1013.25,"battery":{"volts":3.7,"percent":81},"a":1,"b":2,"c":3,"d":4,"e":true}}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.FromJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}
