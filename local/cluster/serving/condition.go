package serving

import (
	"encoding/json"
	"strconv"
	"time"

	"selvedge.dev/local/cluster/object"
)

// The states of conditions.
const (
	yes     = "True"
	no      = "False"
	unknown = "Unknown"
)

// condition is a condition whose reason and message are only of what is not
// true.
func condition(typ, status, reason, message string) object.Condition {
	if status == yes {
		reason, message = "", ""
	}
	return object.Condition{Type: typ, Status: status, Reason: reason, Message: message}
}

// settle sets conditions, and Ready as their sum: what is false decides, then
// what is unknown.
func settle(o object.Object, now time.Time, parts ...object.Condition) {
	ready := object.Condition{Type: "Ready", Status: yes}
	for _, want := range []string{unknown, no} {
		for i := len(parts) - 1; i >= 0; i-- {
			if p := parts[i]; p.Status == want {
				ready = object.Condition{Type: "Ready", Status: want, Reason: p.Reason, Message: p.Message}
			}
		}
	}
	o.SetConditions(now, append(parts, ready)...)
	o.Set(number(o.Generation()), "status", "observedGeneration")
}

// number is n as objects have it.
func number(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

// current reports whether the status of an object is of its present spec.
func current(o object.Object) bool { return o.Int("status", "observedGeneration") == o.Generation() }

// put sets a text of the status, or removes it.
func put(o object.Object, value string, path ...string) {
	if value == "" {
		o.Unset(path...)
		return
	}
	o.Set(value, path...)
}

// plainMap is a map of strings as objects have it.
func plainMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// controlled reports whether o is managed by owner.
func controlled(o, owner object.Object) bool {
	for _, w := range o.Owners() {
		if w.Controller && w.UID == owner.UID() {
			return true
		}
	}
	return false
}
