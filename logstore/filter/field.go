package filter

import (
	"fmt"
	"slices"
	"strings"
)

// Type says how the values of a field are compared.
type Type int

// The types of fields.
const (
	// String is a field of LogEntry's own that is text; it is "" where it is
	// not set.
	String Type = iota + 1
	// Number is a field of LogEntry's own that is a number; 0 if not set.
	Number
	// Bool is a field of LogEntry's own; false if not set.
	Bool
	// Duration is a field of LogEntry's own; 0s if not set.
	Duration
	// Timestamp is a field of LogEntry's own.
	Timestamp
	// Enum is severity; DEFAULT if not set.
	Enum
	// Label is text that may be missing: a value of a map.
	Label
	// Any is a part of a payload, which may be missing and is compared by the
	// type that it has in the entry. errorGroups is of it too.
	Any
	// Object is a map, a message or a payload as a whole: only Has looks into
	// it, at every value in it.
	Object
)

// members are the fields of one of LogEntry's messages.
type members map[string]Type

// own are the fields of LogEntry, except those with members.
var own = members{
	"logName": String, "severity": Enum, "timestamp": Timestamp, "receiveTimestamp": Timestamp, "insertId": String,
	"textPayload": String, "trace": String, "spanId": String, "traceSampled": Bool,
	"labels": Object, "jsonPayload": Object, "protoPayload": Object, "errorGroups": Any,
	"metadata": Object, "apphub": Object, "apphubDestination": Object, "apphubSource": Object,
}

// Unkept reports whether a field of LogEntry is one that only Google sets: it may be
// asked for, and no entry has it.
func Unkept(name string) bool { return name == "metadata" || strings.HasPrefix(name, "apphub") }

// messages are the fields of LogEntry that are messages.
var messages = map[string]members{
	"resource": {"type": String, "labels": Object},
	"httpRequest": {
		"requestMethod": String, "requestUrl": String, "requestSize": Number, "status": Number, "responseSize": Number,
		"userAgent": String, "remoteIp": String, "serverIp": String, "referer": String, "latency": Duration,
		"cacheLookup": Bool, "cacheHit": Bool, "cacheValidatedWithOriginServer": Bool, "cacheFillBytes": Number, "protocol": String,
	},
	"operation":      {"id": String, "producer": String, "first": Bool, "last": Bool},
	"sourceLocation": {"file": String, "line": Number, "function": String},
	"split":          {"uid": String, "index": Number, "totalSplits": Number},
}

// Field resolves a field's name: it gives the path with the names of
// LogEntry's own in their canonical form, "logName" for "log_name" or
// "LOGNAME", and its type. A field that no entry can have is an error that
// says which names there are.
func Field(path []string) ([]string, Type, error) {
	if len(path) == 0 {
		return nil, 0, fmt.Errorf("expected the name of a field")
	}
	first, typ, ok := named(own, path[0])
	if !ok {
		return inMessage(path)
	}
	canonical := path
	if first != path[0] {
		canonical = append([]string{first}, path[1:]...)
	}
	switch {
	case len(path) == 1:
		return canonical, typ, nil
	case first == "labels" && len(path) == 2:
		return canonical, Label, nil
	case first == "jsonPayload", first == "protoPayload", first == "errorGroups", Unkept(first):
		return canonical, Any, nil
	}
	return nil, 0, fmt.Errorf("%s has no field %q", first, strings.Join(path[1:], "."))
}

// inMessage is Field of what is in one of the messages.
func inMessage(path []string) ([]string, Type, error) {
	message, fields, ok := named(messages, path[0])
	if !ok {
		return nil, 0, fmt.Errorf("a log entry has no field %q; its fields are %s; to search for the word put it in double quotes", path[0], names())
	}
	if len(path) == 1 {
		return []string{message}, Object, nil
	}
	field, typ, ok := named(fields, path[1])
	if !ok {
		return nil, 0, fmt.Errorf("%s has no field %q; its fields are %s", message, path[1], strings.Join(sorted(fields), ", "))
	}
	canonical := append([]string{message, field}, path[2:]...)
	switch {
	case len(path) == 2:
		return canonical, typ, nil
	case message == "resource" && field == "labels" && len(path) == 3:
		return canonical, Label, nil
	}
	return nil, 0, fmt.Errorf("%s.%s has no field %q", message, field, strings.Join(path[2:], "."))
}

// named finds a name whatever its case is, and with underscores as protocol
// buffers write it.
func named[V any](of map[string]V, name string) (string, V, bool) {
	if v, ok := of[name]; ok {
		return name, v, true
	}
	squeezed := strings.ReplaceAll(name, "_", "")
	for k, v := range of {
		if len(k) == len(squeezed) && strings.EqualFold(k, squeezed) {
			return k, v, true
		}
	}
	var none V
	return "", none, false
}

// names lists the fields of LogEntry.
func names() string {
	return strings.Join(slices.Sorted(slices.Values(append(sorted(own), sorted(messages)...))), ", ")
}

// sorted are the keys of a table.
func sorted[V any](of map[string]V) []string {
	keys := make([]string, 0, len(of))
	for k := range of {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
