package conformance

import (
	"maps"
	"net/url"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"selvedge.dev/sdk/event"
)

// made is an event with the required attributes, changed by the functions.
func made(changes ...func(e *event.Event)) *event.Event {
	e := event.New()
	e.SetID("1")
	e.SetType("com.example.climate")
	e.SetSource("/devices/d")
	for _, change := range changes {
		change(&e)
	}
	return &e
}

// with sets an extension.
func with(name string, v any) func(*event.Event) {
	return func(e *event.Event) { e.SetExtension(name, v) }
}

// at sets the time.
func at(t time.Time) func(*event.Event) { return func(e *event.Event) { e.SetTime(t) } }

// v03 is an event of specification version 0.3.
func v03() *event.Event {
	e := ce.New(ce.CloudEventsVersionV03)
	e.SetID("1")
	e.SetType("com.example.climate")
	e.SetSource("/devices/d")
	e.SetSubject("hall")
	e.SetDataSchema("https://example.com/s.json")
	e.SetDataContentEncoding("base64")
	e.SetExtension("level", 5)
	e.SetExtension("region", "eu-west")
	return &e
}

// events are what every filter of the table meets.
func events() map[string]*event.Event {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	uri := url.URL{Scheme: "https", Host: "example.com", Path: "/a b", RawQuery: "c=d"}
	return map[string]*event.Event{
		"required only": made(),
		"everything": made(at(noon), with("region", "eu-west"), with("level", 5), with("urgent", true), func(e *event.Event) {
			e.SetSubject("hall/north")
			e.SetDataSchema("https://example.com/s.json")
			e.SetDataContentType("application/json; charset=utf-8")
		}),
		"another type":      made(func(e *event.Event) { e.SetType("org.example.door") }),
		"upper case":        made(func(e *event.Event) { e.SetType("COM.EXAMPLE.CLIMATE") }, with("region", "EU-WEST")),
		"source of ours":    made(func(e *event.Event) { e.SetSource("//selvedge.dev/projects/p/devices/d") }),
		"source escaped":    made(func(e *event.Event) { e.SetSource("https://example.com/a%20b?c=d#f") }),
		"subject":           made(func(e *event.Event) { e.SetSubject("hall") }),
		"subject blank":     made(func(e *event.Event) { e.SetSubject(" ") }),
		"data schema":       made(func(e *event.Event) { e.SetDataSchema("https://example.com/s.json") }),
		"content type":      made(func(e *event.Event) { e.SetDataContentType("application/json") }),
		"content type long": made(func(e *event.Event) { e.SetDataContentType("text/plain ; charset=utf-8") }),
		"time":              made(at(noon)),
		"time nanoseconds":  made(at(noon.Add(123456789))),
		"time zone":         made(at(noon.In(time.FixedZone("", -5*3600-1800)))),
		"time zero":         made(at(time.Time{})),
		"time unspeakable":  made(at(noon.AddDate(10000, 0, 0))),
		"string":            made(with("region", "eu-west")),
		"string empty":      made(with("region", "")),
		"string number":     made(with("level", "5")),
		"string padded":     made(with("level", " 5")),
		"string boolean":    made(with("urgent", "TRUE")),
		"string unicode":    made(with("region", "Łódź 50%_")),
		"string quotes":     made(with("region", `it's "it"\`)),
		"number":            made(with("level", 5)),
		"number negative":   made(with("level", -2147483648)),
		"number zero":       made(with("level", 0)),
		"true":              made(with("urgent", true)),
		"false":             made(with("urgent", false)),
		"binary":            made(with("level", []byte{1, 2, 255}), with("region", []byte{})),
		"uri":               made(with("region", types.URI{URL: uri})),
		"uri reference":     made(with("region", types.URIRef{URL: url.URL{Path: "eu-west"}})),
		"timestamp":         made(with("region", types.Timestamp{Time: noon.In(time.FixedZone("", 3600))})),
		"clashing names":    made(with("datacontentencoding", "x"), with("datamediatype", "y"), with("schemaurl", "z")),
		"old version":       v03(),
		"null extension": made(func(e *event.Event) {
			e.Context.(*ce.EventContextV1).Extensions = map[string]any{"region": nil, "Level": "5"}
		}),
	}
}

// names are the keys of a map in order.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
