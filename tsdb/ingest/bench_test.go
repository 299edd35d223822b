package ingest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
)

// tenReadings is an event of ten readings, as a weather station sends them.
const tenReadings = `{"temperature":21.53,"humidity":48.2,"pressure":1013.25,"wind":{"speed":3.4,"direction":271,"gust":7.9},` +
	`"battery":{"volts":3.71,"percent":84},"rain_mm":0.2,"uv_index":3}`

// BenchmarkDecode measures events in the steady state, when their fields are
// known.
func BenchmarkDecode(b *testing.B) {
	plan, err := ingest.Compile(ingest.Mapping{EventType: "com.example.climate", Fields: []ingest.Field{
		{Path: "temperature", Unit: "Cel"},
		{Path: "humidity", Unit: "%"},
		{Path: "pressure"},
		{Path: "wind/speed"},
		{Path: "wind/direction"},
		{Path: "wind/gust"},
		{Path: "battery/volts"},
		{Path: "battery/percent"},
		{Path: "rain_mm"},
		{Path: "uv_index"},
	}})
	require.NoError(b, err)
	senML := `[{"bn":"urn:dev:ow:10e2073a01080063:","n":"t0","u":"Cel","v":21.5}`
	series := `{"name":"projects/p","timeSeries":[`
	for i := range 10 {
		if i > 0 {
			senML += fmt.Sprintf(`,{"n":"t%d","u":"Cel","v":2%d.5}`, i, i)
			series += ","
		}
		series += fmt.Sprintf(`{"metric":{"type":"com.example/t%d","labels":{"rack":"a"}},"resource":{"type":"device"},"metricKind":"GAUGE","valueType":"DOUBLE",`+
			`"points":[{"interval":{"endTime":%q},"value":{"doubleValue":2%d.5}}]}`, i, time.Now().UTC().Format(time.RFC3339Nano), i)
	}
	for _, c := range []struct {
		name  string
		event ingest.Event
	}{
		{"Object", ingest.Event{Data: []byte(tenReadings)}},
		{"Mapped", ingest.Event{Data: []byte(tenReadings), Plan: plan}},
		{"SenML", ingest.Event{Data: []byte(senML + "]"), MediaType: event.MediaSenML}},
		{"TimeSeries", ingest.Event{Data: []byte(series + "]}"), Type: event.TypeTimeSeries}},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := c.event
			e.Project, e.Device, e.Time = "p", "station-1", tsdb.Millis(time.Now().UnixMilli())
			if e.Type == "" {
				e.Type = "com.example.climate"
			}
			d := ingest.New(&memory.Descriptors{}, ingest.Options{})
			var batch ingest.Batch
			b.ReportAllocs()
			b.SetBytes(int64(len(e.Data)))
			for b.Loop() {
				if err := d.Decode(context.Background(), &e, &batch); err != nil || len(batch.Samples) != 10 {
					b.Fatal(err, len(batch.Samples))
				}
			}
		})
	}
}
