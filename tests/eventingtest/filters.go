package eventingtest

import (
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// filterCase is a filter and the ids of the events of filterEvents that pass.
type filterCase struct {
	name       string
	filters    []filter.Spec
	attributes map[string]string
	want       []string
}

// one is the map with one entry.
func one(name, value string) map[string]string { return map[string]string{name: value} }

// filterTable is a filter of every dialect, and of every nesting.
func filterTable() []filterCase {
	climate, east := filter.Spec{Prefix: one("type", "com.example.climate")}, filter.Spec{Exact: one("region", "east")}
	return []filterCase{
		{name: "none", want: []string{"1", "2", "3", "4"}},
		{name: "exact", filters: []filter.Spec{{Exact: one("type", "com.example.door")}}, want: []string{"3"}},
		{name: "exact two", filters: []filter.Spec{{Exact: map[string]string{"type": "com.example.climate.v1", "region": "east"}}}, want: []string{"1"}},
		{name: "exact is case sensitive", filters: []filter.Spec{{Exact: one("type", "com.example.Door")}}},
		{name: "exact on a missing attribute", filters: []filter.Spec{{Exact: one("level", "5")}}, want: []string{"1"}},
		{name: "prefix", filters: []filter.Spec{climate}, want: []string{"1", "2"}},
		{name: "suffix", filters: []filter.Spec{{Suffix: one("subject", "/north")}}, want: []string{"1", "3"}},
		{name: "all", filters: []filter.Spec{{All: []filter.Spec{climate, east}}}, want: []string{"1"}},
		{name: "any", filters: []filter.Spec{{Any: []filter.Spec{east, {Exact: one("type", "com.example.door")}}}}, want: []string{"1", "3", "4"}},
		{name: "not", filters: []filter.Spec{{Not: &climate}}, want: []string{"3", "4"}},
		{name: "not any", filters: []filter.Spec{{Not: &filter.Spec{Any: []filter.Spec{climate, east}}}}, want: []string{"3"}},
		{name: "several elements", filters: []filter.Spec{climate, {Not: &east}}, want: []string{"2"}},
		{name: "cesql", filters: []filter.Spec{{CESQL: "type LIKE 'com.example.%' AND NOT EXISTS region"}}, want: []string{"3"}},
		{name: "cesql in", filters: []filter.Spec{{CESQL: "region IN ('east', 'south')"}}, want: []string{"1", "4"}},
		{name: "cesql with an error", filters: []filter.Spec{{CESQL: "region = 'east'"}}, want: []string{"1", "4"}},
		{name: "cesql negated with an error", filters: []filter.Spec{{Not: &filter.Spec{CESQL: "region = 'east'"}}}, want: []string{"2", "3"}},
		{name: "older attributes", attributes: one("type", "com.example.door"), want: []string{"3"}},
		{name: "older attributes, any value", attributes: one("region", ""), want: []string{"1", "2", "4"}},
	}
}

// filterEvents are what the filters are asked about.
func (s *Suite) filterEvents() []event.Event {
	made := func(id, typ, subject, region string) event.Event {
		e := s.event(id, typ)
		if subject != "" {
			e.SetSubject(subject)
		}
		if region != "" {
			e.SetExtension("region", region)
		}
		return e
	}
	all := []event.Event{
		made("1", "com.example.climate.v1", "hall/north", "east"),
		made("2", "com.example.climate.v2", "hall/south", "west"),
		made("3", "com.example.door", "hall/north", ""),
		made("4", "org.example.light", "", "east"),
	}
	all[0].SetExtension("level", "5")
	return all
}

// filterCases are a case for each row of filterTable.
func filterCases() []Case {
	var cases []Case
	for _, c := range filterTable() {
		cases = append(cases, Case{"filter " + c.name, func(s *Suite) {
			sub := s.subscriber(nil)
			s.apply(Trigger{Name: "a", Filters: c.filters, Attributes: c.attributes, Subscriber: sub.url})
			for _, e := range s.filterEvents() {
				s.post(e)
			}
			require.ElementsMatch(s, c.want, ids(sub.exactly(len(c.want))))
		}})
	}
	return append(cases, Case{"filter that is refused", testRefusedFilters})
}

func testRefusedFilters(s *Suite) {
	f := func(spec string) {
		s.Helper()
		err := s.Broker.Apply(s.Context(), []byte(`{"apiVersion":"eventing.knative.dev/v1","kind":"Trigger",
			"metadata":{"name":"`+s.name("refused")+`","namespace":"`+s.Namespace+`"},
			"spec":{"broker":"default","subscriber":{"uri":"http://a.example"},`+spec+`}}`))
		require.Error(s, err, spec)
	}
	f(`"filters":[{"cesql":"type ="}]`)
	f(`"filters":[{"exact":{"Type":"a"}}]`)
	f(`"filters":[{"exact":{"type":"a"},"prefix":{"type":"a"}}]`)
	f(`"delivery":{"backoffDelay":"5s"}`)
	f(`"delivery":{"retry":-1}`)
	f(`"delivery":{"backoffPolicy":"random"}`)
}
