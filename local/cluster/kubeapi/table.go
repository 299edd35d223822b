package kubeapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/local/cluster/object"
)

// asTable reports whether the client wants what it prints.
func asTable(r *http.Request) bool {
	for accept := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		media, params, _ := strings.Cut(accept, ";")
		params = ";" + strings.ReplaceAll(params, " ", "")
		if strings.TrimSpace(media) == "application/json" {
			return strings.Contains(params+";", ";as=Table;") && strings.Contains(params+";", ";v=v1;")
		}
	}
	return false
}

// table is objects as kubectl prints them: their name, the columns of their
// kind, and their age.
func table(r *http.Request, k *object.Kind, items []object.Object, version int64) map[string]any {
	columns := []any{column("Name", "string", "name", false)}
	for _, c := range k.Columns {
		columns = append(columns, column(c.Name, c.Type, "", c.Wide))
	}
	columns = append(columns, column("Age", "string", "", false))
	rows := []any{}
	for _, o := range items {
		cells := []any{o.Name()}
		for _, c := range k.Columns {
			cells = append(cells, c.Of(o))
		}
		cells = append(cells, age(o))
		rows = append(rows, map[string]any{"cells": cells, "object": part(r, o)})
	}
	meta := map[string]any{}
	if version > 0 {
		meta["resourceVersion"] = strconv.FormatInt(version, 10)
	}
	return map[string]any{"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows}
}

// column is the definition of a column.
func column(name, typ, format string, wide bool) map[string]any {
	priority := 0
	if wide {
		priority = 1
	}
	return map[string]any{"name": name, "type": typ, "format": format, "description": name, "priority": priority}
}

// part is what a row holds of its object: its metadata, unless the client says
// that it wants all or nothing.
func part(r *http.Request, o object.Object) any {
	switch r.URL.Query().Get("includeObject") {
	case "None":
		return nil
	case "Object":
		return o
	}
	return map[string]any{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]}
}

// age is how long an object is there, in the words of kubectl.
func age(o object.Object) string {
	if o.Created().IsZero() {
		return "<unknown>"
	}
	d := max(time.Since(o.Created()), 0)
	n := func(d, unit time.Duration) string { return strconv.Itoa(int(d / unit)) }
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return n(d, time.Second) + "s"
	case d < 10*time.Minute:
		out := n(d, time.Minute) + "m"
		if s := d % time.Minute; s >= time.Second {
			out += n(s, time.Second) + "s"
		}
		return out
	case d < 3*time.Hour:
		return n(d, time.Minute) + "m"
	case d < 2*day:
		return n(d, time.Hour) + "h"
	case d < 2*365*day:
		return n(d, day) + "d"
	}
	return n(d, 365*day) + "y"
}
