package threshold

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// noon is the time of the readings.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// start makes a function with THRESHOLDS.
func start(t require.TestingT, thresholds string) *Function {
	f := New()
	require.NoError(t, f.Start(context.Background(), map[string]string{"THRESHOLDS": thresholds}))
	return f
}

// climate watches a temperature and a humidity.
const climate = `[{"eventType":"com.example.climate","field":"temperature","above":30,"below":0},
	{"eventType":"com.example.climate","field":"air/humidity","above":80}]`

// reading is an event as the processor replies it.
func reading(device, id, data string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("//selvedge.dev/projects/p/devices/" + device)
	e.SetType("com.example.climate")
	e.SetTime(noon)
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Device, "projects/p/devices/"+device)
	e.SetExtension(event.Route, event.RouteWriter)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	return e
}

// handle is the alert for e in short, "" for none.
func handle(t require.TestingT, f *Function, e event.Event) string {
	a, err := f.Handle(context.Background(), e)
	require.NoError(t, err)
	if a == nil {
		return ""
	}
	var data Alert
	require.NoError(t, a.DataAs(&data))
	return fmt.Sprintf("%s %v %s %v", data.Field, data.Value, data.Direction, data.Limit)
}

func TestHandle_TheAlert(t *testing.T) {
	t.Parallel()
	a, err := start(t, climate).Handle(t.Context(), reading("d", "e1", `{"temperature": 30.5}`))
	require.NoError(t, err)
	require.NoError(t, a.Validate())
	require.Equal(t, "dev.selvedge.alert.v1", a.Type())
	require.Equal(t, "//selvedge.dev/functions/threshold", a.Source())
	require.Equal(t, "//selvedge.dev/projects/p/devices/d/e1/temperature", a.ID())
	require.Equal(t, "projects/p/devices/d", a.Subject())
	require.Equal(t, noon, a.Time())
	require.Equal(t, map[string]any{event.Project: "p"}, a.Extensions())
	require.JSONEq(t, `{"device":"projects/p/devices/d","field":"temperature","value":30.5,"limit":30,"direction":"above","eventId":"e1"}`, string(a.Data()))
}

func TestHandle_AlertsWhenTheLimitIsCrossed(t *testing.T) {
	t.Parallel()
	f := start(t, climate)
	for i, step := range []struct{ data, want string }{
		{`{"temperature": 20}`, ""},
		{`{"temperature": 30}`, ""},
		{`{"temperature": 31}`, "temperature 31 above 30"},
		{`{"temperature": 32}`, ""},
		{`{"other": 1}`, ""},
		{`{"temperature": "hot"}`, ""},
		{`{"temperature": 33}`, ""},
		{`{"temperature": -1}`, "temperature -1 below 0"},
		{`{"temperature": -2}`, ""},
		{`{"temperature": 1}`, ""},
		{`{"temperature": -2}`, "temperature -2 below 0"},
		{`{"temperature": 40, "air": {"humidity": 81}}`, "temperature 40 above 30"},
		{`{"temperature": 40, "air": {"humidity": 82}}`, "air/humidity 82 above 80"},
		{`{"temperature": 40, "air": {"humidity": 83}}`, ""},
		{`{"temperature": 20, "air": 1}`, ""},
		{`[1]`, ""},
	} {
		require.Equal(t, step.want, handle(t, f, reading("d", fmt.Sprint(i), step.data)), "step %d", i)
	}
}

func TestHandle_DevicesAreApart(t *testing.T) {
	t.Parallel()
	f := start(t, climate)
	require.NotEmpty(t, handle(t, f, reading("a", "1", `{"temperature": 31}`)))
	require.NotEmpty(t, handle(t, f, reading("b", "1", `{"temperature": 31}`)))
	require.Empty(t, handle(t, f, reading("a", "2", `{"temperature": 31}`)))
	// What is back within its limits takes no memory.
	handle(t, f, reading("a", "3", `{"temperature": 3}`))
	handle(t, f, reading("b", "3", `{"temperature": 3}`))
	require.Empty(t, f.beyond)
}

func TestHandle_RedeliveryMakesTheSameAlert(t *testing.T) {
	t.Parallel()
	f := start(t, climate)
	e := reading("d", "1", `{"temperature": 31}`)
	first, err := f.Handle(t.Context(), e)
	require.NoError(t, err)
	require.Empty(t, handle(t, f, reading("d", "2", `{"temperature": 32}`)))
	again, err := f.Handle(t.Context(), e)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Empty(t, handle(t, f, reading("d", "2", `{"temperature": 32}`)))
}

func TestHandle_OneAlertForEveryStretchBeyond(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := start(t, climate)
		was := ""
		for i, v := range rapid.SliceOf(rapid.IntRange(-10, 40)).Draw(t, "values") {
			want := ""
			switch {
			case v > 30:
				want = "above"
			case v < 0:
				want = "below"
			}
			alert := handle(t, f, reading("d", fmt.Sprint(i), fmt.Sprintf(`{"temperature": %d}`, v)))
			require.Equal(t, want != "" && want != was, alert != "")
			was = want
		}
	})
}

func TestHandle_ConcurrentReadingsMakeOneAlert(t *testing.T) {
	t.Parallel()
	f := start(t, climate)
	alerts := make(chan string, 100)
	var wg sync.WaitGroup
	for i := range cap(alerts) {
		wg.Go(func() { alerts <- handle(t, f, reading("d", fmt.Sprint(i), `{"temperature": 31}`)) })
	}
	wg.Wait()
	close(alerts)
	n := 0
	for a := range alerts {
		if a != "" {
			n++
		}
	}
	require.Equal(t, 1, n)
}

func TestHandle_IgnoresOtherEvents(t *testing.T) {
	t.Parallel()
	f := start(t, climate)
	e := reading("d", "1", `not JSON`)
	e.SetType("com.example.other")
	require.Empty(t, handle(t, f, e))
	_, err := f.Handle(t.Context(), reading("d", "1", `not JSON`))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, "MALFORMED_JSON", fault.ReasonOf(err))
}

func TestNew_WatchesTheMemoryOfTheHost(t *testing.T) {
	t.Parallel()
	f := start(t, "")
	e := reading("d", "1", `{"memory": {"used_ratio": 0.96}}`)
	e.SetType(event.TypeHost)
	require.Equal(t, "memory/used_ratio 0.96 above 0.95", handle(t, f, e))
}

func TestStart_RefusesWhatIsNoLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`: "unexpected end", `{}`: "cannot unmarshal", `[{"eventType":"t","field":"f"}]`: "limit 0",
		`[{"field":"f","above":1}]`: "limit 0", `[{"eventType":"t","field":"f","above":1},{"eventType":"t","below":1}]`: "limit 1",
	} {
		require.ErrorContains(t, New().Start(t.Context(), map[string]string{"THRESHOLDS": text}), want, text)
	}
}
