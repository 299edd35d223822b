package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	f := func(text string, want ...tsdb.Condition) {
		t.Helper()
		parsed, err := filter.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, parsed.Conditions(), text)
	}
	device := func(values ...string) tsdb.Condition {
		return tsdb.Condition{Field: tsdb.ResourceLabel, Label: "device_id", Values: values}
	}
	metric := func(values ...string) tsdb.Condition {
		return tsdb.Condition{Field: tsdb.MetricType, Values: values}
	}
	f(`metric.type = "m"`, metric("m"))
	f(`metric.type = one_of("m", "n")`, metric("m", "n"))
	f(`metric.type = "m" AND resource.labels.device_id = "d"`, metric("m"), device("d"))
	f(`resource.label.device_id = one_of("d", "e") AND metric.labels.state = "on"`, device("d", "e"),
		tsdb.Condition{Field: tsdb.MetricLabel, Label: "state", Values: []string{"on"}})
	// What does not bind every series says nothing.
	f(`metric.type = "m" OR resource.labels.device_id = "d"`)
	f(`NOT metric.type = "m"`)
	f(`metric.type != "m"`)
	f(`metric.type = starts_with("m")`)
	f(`resource.labels.device_id = ""`)
	f(`resource.labels.device_id = one_of("d", "")`)
	f(`resource.labels.device_id : "d"`)
	f(`resource.type = "device"`)
	f(`metric.type = "m" AND (resource.labels.device_id = "d" OR resource.labels.device_id = "e")`, metric("m"))
}
