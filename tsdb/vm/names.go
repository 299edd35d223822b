package vm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// The engine's series are Prometheus series: a metric name and labels. A
// tsdb.Series becomes
//
//	metric name       the metric type, verbatim
//	project           the project's id
//	resource          the monitored-resource type
//	resource_NAME     resource label NAME
//	metric_NAME       metric label NAME
//	part              what of a distribution it is; see parts.go
//
// so PromQL over the same data reads
// {__name__="com.example.climate/temperature", project="p", resource_device_id="d1"}.
// Names are kept as they are, whatever they hold; the prefixes keep them apart.
// Kind, value type and unit are not stored: they belong to the descriptor.
//
// To the engine a label without value is no label, to tsdb it is one. So the
// empty value is stored as one NUL byte, and a value that begins with a NUL
// byte with one more in front.
const (
	projectLabel   = "project"
	resourceLabel  = "resource"
	resourcePrefix = "resource_"
	metricPrefix   = "metric_"
	escape         = "\x00"
)

// maxNameBytes bounds a series' identity as appendName writes it. The engine's
// index drops an entry over 64 KiB; an entry holds an identity once, in which
// some bytes are doubled, or one label and the metric type.
const maxNameBytes = 16 << 10

// nameable reports whether the engine can keep s under its identity: there is
// a project and a metric, labels are sorted without repetition, and it all
// fits.
func nameable(s *tsdb.Series) bool {
	size := len(s.Project) + len(s.Metric) + len(s.Resource)
	for _, labels := range [...]tsdb.Labels{s.ResourceLabels, s.MetricLabels} {
		for i := range labels {
			if i > 0 && labels[i].Name <= labels[i-1].Name {
				return false
			}
			// Both lengths, the longer prefix and an escape.
			size += len(labels[i].Name) + len(labels[i].Value) + 4 + len(resourcePrefix) + 1
		}
	}
	const fixed = 3*4 + len(projectLabel) + 1 + len(resourceLabel) + 1
	return s.Project != "" && s.Metric != "" && size+fixed <= maxNameBytes
}

// appendName appends the identity of s in the engine's raw form
// (storage.MarshalMetricNameRaw): pairs of key and value, each behind its
// length in two bytes; the metric name's key is empty.
func appendName(dst []byte, s *tsdb.Series) []byte {
	dst = appendText(dst, "", "")
	dst = appendText(dst, "", s.Metric)
	dst = appendText(dst, "", projectLabel)
	dst = appendValue(dst, s.Project)
	if s.Resource != "" {
		dst = appendText(dst, "", resourceLabel)
		dst = appendValue(dst, s.Resource)
	}
	for i := range s.ResourceLabels {
		dst = appendText(dst, resourcePrefix, s.ResourceLabels[i].Name)
		dst = appendValue(dst, s.ResourceLabels[i].Value)
	}
	for i := range s.MetricLabels {
		dst = appendText(dst, metricPrefix, s.MetricLabels[i].Name)
		dst = appendValue(dst, s.MetricLabels[i].Value)
	}
	return dst
}

// appendText appends prefix and text as one, behind their length.
func appendText(dst []byte, prefix, text string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(prefix)+len(text)))
	dst = append(dst, prefix...)
	return append(dst, text...)
}

// appendValue appends a label value, escaped.
func appendValue(dst []byte, value string) []byte {
	return appendText(dst, escapeOf(value), value)
}

// escapeOf is what is to be written before a label value.
func escapeOf(value string) string {
	if value == "" || value[0] == escape[0] {
		return escape
	}
	return ""
}

// labelValue is the inverse of the escape.
func labelValue(stored []byte) string {
	if len(stored) > 0 && stored[0] == escape[0] {
		stored = stored[1:]
	}
	return string(stored)
}

// parseName is the inverse of appendName, from the engine's canonical form,
// in which labels are sorted by key. mn is scratch space. A part of
// distributions is the series of DISTRIBUTION that it is a part of, any other
// has no value type yet.
func parseName(mn *storage.MetricName, name []byte) (*tsdb.Series, error) {
	if err := mn.Unmarshal(name); err != nil {
		return nil, fmt.Errorf("parse series name %q: %w", name, err)
	}
	s := &tsdb.Series{Metric: string(mn.MetricGroup)}
	for i := range mn.Tags {
		key, value := mn.Tags[i].Key, labelValue(mn.Tags[i].Value)
		switch {
		case string(key) == projectLabel:
			s.Project = value
		case string(key) == resourceLabel:
			s.Resource = value
		case string(key) == partLabel:
			s.ValueType = tsdb.Distributed
		case bytes.HasPrefix(key, []byte(resourcePrefix)):
			s.ResourceLabels = append(s.ResourceLabels, tsdb.Label{Name: string(key[len(resourcePrefix):]), Value: value})
		case bytes.HasPrefix(key, []byte(metricPrefix)):
			s.MetricLabels = append(s.MetricLabels, tsdb.Label{Name: string(key[len(metricPrefix):]), Value: value})
		default:
			return nil, fmt.Errorf("parse series name %q: label %q is not of this store", name, key)
		}
	}
	return s, nil
}
