package threshold

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Limit is a bound on one field of the events of one type.
type Limit struct {
	// EventType is the CloudEvents type of the readings.
	EventType string `json:"eventType"`
	// Field is the path of a number in the JSON data: "memory/used_ratio".
	Field string `json:"field"`
	// Above and Below are the bounds; a value on one is not beyond it.
	Above *float64 `json:"above,omitempty"`
	Below *float64 `json:"below,omitempty"`
}

// parse reads a list of limits.
func parse(text string) (limits []Limit, err error) {
	if err := json.Unmarshal([]byte(text), &limits); err != nil {
		return nil, fmt.Errorf("read THRESHOLDS: %w", err)
	}
	for i, l := range limits {
		if l.EventType == "" || l.Field == "" || l.Above == nil && l.Below == nil {
			return nil, fmt.Errorf("read THRESHOLDS: limit %d lacks eventType, field, or both of above and below", i)
		}
	}
	return limits, nil
}

// read is the field's value in data, and whether there is one.
func (l Limit) read(data any) (float64, bool) {
	for name := range strings.SplitSeq(l.Field, "/") {
		object, ok := data.(map[string]any)
		if !ok {
			return 0, false
		}
		data = object[name]
	}
	value, ok := data.(float64)
	return value, ok
}

// judge says in which direction value is beyond the limit, "" for not at all,
// and which bound that is.
func (l Limit) judge(value float64) (direction string, bound float64) {
	switch {
	case l.Above != nil && value > *l.Above:
		return "above", *l.Above
	case l.Below != nil && value < *l.Below:
		return "below", *l.Below
	}
	return "", 0
}
