package promql

import (
	"slices"
	"strings"

	"selvedge.dev/tsdb"
)

// resourceLabel is the label that holds the type of the monitored resource.
const resourceLabel = "resource_type"

// exported begins the name of a metric's label that another one has already.
const exported = "exported_"

// labelsOf are the labels of a series as queries see them: its metric as
// __name__, its resource's type as resource_type, and the labels of both, of
// which those of the resource go first. The ending is that of the name.
func labelsOf(s *tsdb.Series, ending string) tsdb.Labels {
	ls := make(tsdb.Labels, 0, len(s.MetricLabels)+len(s.ResourceLabels)+2)
	has := func(name string) bool {
		return slices.ContainsFunc(ls, func(l tsdb.Label) bool { return l.Name == name })
	}
	add := func(name, value string) {
		for has(name) {
			name = exported + name
		}
		if value != "" {
			ls = append(ls, tsdb.Label{Name: name, Value: value})
		}
	}
	add(nameLabel, s.Metric+ending)
	add(resourceLabel, s.Resource)
	for _, labels := range []tsdb.Labels{s.ResourceLabels, s.MetricLabels} {
		for _, l := range labels {
			add(l.Name, l.Value)
		}
	}
	slices.SortFunc(ls, compareNames)
	return ls
}

// compareNames orders labels by name.
func compareNames(a, b tsdb.Label) int { return strings.Compare(a.Name, b.Name) }

// keeps reports whether the series, or one of those that it is for queries, meets
// all matchers. Which buckets there are only the points say.
func keeps(matchers []matcher, s *tsdb.Series) bool {
	for _, ending := range endings(s.ValueType) {
		// The name is looked at first, since that spares the labels.
		named, others := true, false
		for i := range matchers {
			if matchers[i].label == nameLabel {
				named = named && matchers[i].matches(s.Metric+ending)
			} else {
				others = true
			}
		}
		if !named || !others {
			if named {
				return true
			}
			continue
		}
		open := ""
		if ending == bucketEnding {
			open = bucketLabel
		}
		if meets(matchers, labelsOf(s, ending), open) {
			return true
		}
	}
	return false
}

// meets reports whether the labels meet all matchers but those of the label that
// is open.
func meets(matchers []matcher, ls tsdb.Labels, open string) bool {
	for i := range matchers {
		m := &matchers[i]
		if m.label == open && open != "" {
			continue
		}
		if v, _ := ls.Get(m.label); !m.matches(v) {
			return false
		}
	}
	return true
}

// Plain is a metric type as an old client of Prometheus can write it: every
// character that names there cannot have is "_".
func Plain(metric string) string {
	made := []byte(metric)
	for i, c := range made {
		if !(wordy(c) || c == ':') || i == 0 && c >= '0' && c <= '9' {
			made[i] = '_'
		}
	}
	return string(made)
}

// typeOf is the metric type that a query names: the one of that name, else the
// one that reads so when it is written plainly. known are all types.
func typeOf(name string, known []string) (string, error) {
	var found []string
	for _, k := range known {
		if k == name {
			return name, nil
		}
		if Plain(k) == name {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return name, nil
	case 1:
		return found[0], nil
	}
	return "", bad("the name %q is ambiguous: it can be any of %q; write {__name__=%q}", name, found, found[0])
}

// labelsKey is equal for equal labels only.
func labelsKey(ls tsdb.Labels) string {
	n := 0
	for _, l := range ls {
		n += len(l.Name) + len(l.Value) + 2
	}
	b := make([]byte, 0, n)
	for _, l := range ls {
		b = append(append(append(append(b, l.Name...), 0), l.Value...), 0)
	}
	return string(b)
}

// only are the labels with the names, which are sorted.
func only(ls tsdb.Labels, names []string) tsdb.Labels {
	kept := make(tsdb.Labels, 0, len(names))
	for _, l := range ls {
		if _, ok := slices.BinarySearch(names, l.Name); ok {
			kept = append(kept, l)
		}
	}
	return kept
}

// without are the labels but those with the names, which are sorted.
func without(ls tsdb.Labels, names []string) tsdb.Labels {
	kept := make(tsdb.Labels, 0, len(ls))
	for _, l := range ls {
		if _, ok := slices.BinarySearch(names, l.Name); !ok {
			kept = append(kept, l)
		}
	}
	return kept
}

// metadataLabels are the labels that say what a metric is, sorted. An operation
// whose result is another metric drops them.
var metadataLabels = []string{nameLabel, "__type__", "__unit__"}

// nameless are the labels but those that say what the metric is.
func nameless(ls tsdb.Labels) tsdb.Labels {
	for _, name := range metadataLabels {
		if _, ok := ls.Get(name); ok {
			return without(ls, metadataLabels)
		}
	}
	return ls
}

// with are the labels with one set, or removed when the value is "".
func with(ls tsdb.Labels, name, v string) tsdb.Labels {
	made := without(ls, []string{name})
	if v != "" {
		i, _ := slices.BinarySearchFunc(made, name, func(l tsdb.Label, n string) int { return strings.Compare(l.Name, n) })
		made = slices.Insert(made, i, tsdb.Label{Name: name, Value: v})
	}
	return made
}
