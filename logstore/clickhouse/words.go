package clickhouse

import (
	"bytes"
	"encoding/json"
	"strings"

	"selvedge.dev/logstore"
)

// wordsOf is what is found in an entry's payload but is not written in it: the
// strings of JSON, keys too, that have escapes. It ends with a line, so that it
// is not ” if there is one.
func wordsOf(e *logstore.Entry) string {
	data := e.Payload.Data
	if e.Payload.Kind != logstore.JSON && e.Payload.Kind != logstore.Proto || bytes.IndexByte(data, '\\') < 0 {
		return ""
	}
	var b strings.Builder
	for len(data) > 0 {
		start := bytes.IndexByte(data, '"')
		if start < 0 {
			break
		}
		end, escaped := start+1, false
		for end < len(data) && data[end] != '"' {
			if data[end] == '\\' {
				escaped = true
				end++
			}
			end++
		}
		if end >= len(data) {
			break // no JSON
		}
		var text string
		if escaped && json.Unmarshal(data[start:end+1], &text) == nil {
			b.WriteString(text)
			b.WriteByte('\n')
		}
		data = data[end+1:]
	}
	return b.String()
}
