package logging

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"

	"selvedge.dev/logstore"
)

// otlpSeverities are the severities of OTLP's numbers 1 to 24: four each of
// TRACE, DEBUG, INFO, WARN, ERROR and FATAL. As Google's exporter has them: INFO3
// and INFO4 are notices, FATAL is critical and up.
var otlpSeverities = [...]logstore.Severity{
	0, logstore.Debug, logstore.Debug, logstore.Debug, logstore.Debug, logstore.Debug, logstore.Debug, logstore.Debug, logstore.Debug,
	logstore.Info, logstore.Info, logstore.Notice, logstore.Notice, logstore.Warning, logstore.Warning, logstore.Warning, logstore.Warning,
	logstore.Error, logstore.Error, logstore.Error, logstore.Error, logstore.Critical, logstore.Critical, logstore.Alert, logstore.Emergency,
}

// severityOf is the severity of a record: by its number, or else by its text.
func severityOf(number logspb.SeverityNumber, text string) logstore.Severity {
	if number > 0 && int(number) < len(otlpSeverities) {
		return otlpSeverities[number]
	}
	return severityOfLevel(text)
}

// records are the records of a request as entries.
func records(project string, data *logspb.LogsData) []logstore.Entry {
	var out []logstore.Entry
	ids := idents{}
	for _, rl := range data.GetResourceLogs() {
		about := labels{}
		about.add("", rl.GetResource().GetAttributes())
		typ, of := otlpResource(project, about)
		for _, sl := range rl.GetScopeLogs() {
			for _, rec := range sl.GetLogRecords() {
				e := record(project, rec)
				e.ResourceType, e.ResourceLabels = typ, of
				all := labels{}
				for k, v := range about {
					all[k] = v
				}
				if s := sl.GetScope(); s.GetName() != "" {
					all["otel.scope.name"] = s.GetName()
					if s.GetVersion() != "" {
						all["otel.scope.version"] = s.GetVersion()
					}
				}
				if n := rec.GetEventName(); n != "" {
					all["event.name"] = n
				}
				all.add("", rec.GetAttributes())
				if e.Log = all[otlpLogName]; e.Log == "" {
					e.Log = otlpLog
				}
				delete(all, otlpLogName)
				if e.InsertID = all["log.record.uid"]; e.InsertID == "" {
					e.InsertID = ids.next(&e, all)
				}
				e.Labels = all
				out = append(out, e)
			}
		}
	}
	return out
}

// record is a record without what is said about it elsewhere.
func record(project string, rec *logspb.LogRecord) logstore.Entry {
	e := logstore.Entry{Severity: severityOf(rec.GetSeverityNumber(), rec.GetSeverityText()), Payload: bodyOf(rec.GetBody())}
	at := rec.GetTimeUnixNano()
	if at == 0 {
		at = rec.GetObservedTimeUnixNano()
	}
	if at > 0 && at <= math.MaxInt64 {
		e.Time = time.Unix(0, int64(at)).UTC()
	}
	if id := hexID(rec.GetTraceId(), 16); id != "" {
		e.Trace = "projects/" + project + "/traces/" + id
	}
	e.SpanID, e.TraceSampled = hexID(rec.GetSpanId(), 8), rec.GetFlags()&1 == 1
	return e
}

// hexID is an id of n bytes in hexadecimal digits, "" if it is none or all zero.
// In OTLP's JSON it stands as such, which protojson took for base64.
func hexID(id []byte, n int) string {
	if len(id) == 2*n*3/4 {
		decoded, err := hex.DecodeString(base64.StdEncoding.EncodeToString(id))
		if err != nil {
			return ""
		}
		id = decoded
	}
	if len(id) != n || string(id) == string(make([]byte, n)) {
		return ""
	}
	return hex.EncodeToString(id)
}

// bodyOf is what a record says: text, an object, bytes, or another value as the
// member "value" of an object.
func bodyOf(v *commonpb.AnyValue) logstore.Payload {
	switch x := v.GetValue().(type) {
	case nil:
		return logstore.Payload{}
	case *commonpb.AnyValue_StringValue:
		return logstore.Payload{Kind: logstore.Text, Data: []byte(x.StringValue)}
	case *commonpb.AnyValue_BytesValue:
		return logstore.Payload{Kind: logstore.Bytes, Data: x.BytesValue}
	case *commonpb.AnyValue_KvlistValue:
		return logstore.Payload{Kind: logstore.JSON, Data: mustJSON(json.Marshal(plain(v, 0)))}
	}
	return logstore.Payload{Kind: logstore.JSON, Data: mustJSON(json.Marshal(map[string]any{"value": plain(v, 0)}))}
}

// maxDepth bounds how deep values are nested.
const maxDepth = 64

// plain is a value as JSON has it; numbers that JSON does not have are text.
func plain(v *commonpb.AnyValue, depth int) any {
	if depth > maxDepth {
		return nil
	}
	switch x := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return x.StringValue
	case *commonpb.AnyValue_BoolValue:
		return x.BoolValue
	case *commonpb.AnyValue_IntValue:
		return x.IntValue
	case *commonpb.AnyValue_DoubleValue:
		if math.IsNaN(x.DoubleValue) || math.IsInf(x.DoubleValue, 0) {
			return strconv.FormatFloat(x.DoubleValue, 'g', -1, 64)
		}
		return x.DoubleValue
	case *commonpb.AnyValue_BytesValue:
		return x.BytesValue
	case *commonpb.AnyValue_ArrayValue:
		out := make([]any, len(x.ArrayValue.GetValues()))
		for i, item := range x.ArrayValue.GetValues() {
			out[i] = plain(item, depth+1)
		}
		return out
	case *commonpb.AnyValue_KvlistValue:
		out := map[string]any{}
		for _, kv := range x.KvlistValue.GetValues() {
			out[kv.GetKey()] = plain(kv.GetValue(), depth+1)
		}
		return out
	}
	return nil
}

// labels are the labels of an entry.
type labels map[string]string

// add adds attributes: text as it is, everything else as JSON.
func (l labels) add(prefix string, attributes []*commonpb.KeyValue) {
	for _, kv := range attributes {
		if kv.GetKey() == "" {
			continue
		}
		switch v := plain(kv.GetValue(), 0).(type) {
		case string:
			l[prefix+kv.GetKey()] = v
		case nil:
			l[prefix+kv.GetKey()] = ""
		default:
			l[prefix+kv.GetKey()] = string(mustJSON(json.Marshal(v)))
		}
	}
}

// otlpResource is what the records of a resource are about: a service's instance,
// a machine, or nothing in particular.
func otlpResource(project string, about labels) (string, map[string]string) {
	switch {
	case about["service.name"] != "":
		return "generic_task", map[string]string{
			"project_id": project, "location": first(about, "cloud.availability_zone", "cloud.region"),
			"namespace": about["service.namespace"], "job": about["service.name"], "task_id": about["service.instance.id"],
		}
	case first(about, "host.id", "host.name") != "":
		return "generic_node", map[string]string{
			"project_id": project, "location": first(about, "cloud.availability_zone", "cloud.region"),
			"namespace": about["service.namespace"], "node_id": first(about, "host.id", "host.name"),
		}
	}
	return globalType, map[string]string{"project_id": project}
}

// first is the first value that is there.
func first(about labels, keys ...string) string {
	for _, k := range keys {
		if about[k] != "" {
			return about[k]
		}
	}
	return ""
}
