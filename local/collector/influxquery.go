package collector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"selvedge.dev/sdk/fault"
)

// influxVersion is the version of InfluxDB that the doors are like: clients
// read it to know what they may send.
const influxVersion = "1.8.0"

// maxQuery bounds the statements of a request.
const maxQuery = 64 << 10

// ping handles GET and HEAD of ping.
func ping(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Influxdb-Version", influxVersion)
	w.Header().Set("X-Influxdb-Build", "selvedge")
	if r.URL.Query().Get("verbose") == "true" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte(`{"version":"` + influxVersion + `"}`)) // a caller who went away needs no answer
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// health handles GET of health, which clients of InfluxDB 2 ask for.
func health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	// A caller who went away needs no answer.
	_, _ = w.Write([]byte(`{"name":"influxdb","message":"ready for writes","status":"pass","checks":[],"version":"` + influxVersion + `"}`))
}

// influxResult is the answer to a statement, as InfluxDB 1 has it.
type influxResult struct {
	Statement int            `json:"statement_id"`
	Series    []influxSeries `json:"series,omitempty"`
}

// influxSeries is a table in an answer.
type influxSeries struct {
	Name    string     `json:"name"`
	Columns []string   `json:"columns"`
	Values  [][]string `json:"values,omitempty"`
}

// influxQuery answers what clients of InfluxDB 1 say before they write. The
// caller's project is the one database, whatever name a client gives it: CREATE
// DATABASE makes nothing, and SHOW DATABASES names the project. There is no
// other statement: series are read through Prometheus' and Google's APIs.
func (s *Service) influxQuery(w http.ResponseWriter, r *http.Request) {
	results, err := s.influxResults(w, r)
	if err != nil {
		if k := fault.KindOf(err); k == fault.Exhausted || k == fault.Unavailable {
			w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
		}
		answerInflux(w, false, fault.KindOf(err).HTTPStatus(), fault.ProblemOf(err).Error.Message)
		return
	}
	w.Header().Set("X-Influxdb-Version", influxVersion)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"results": results}) // the client went away
}

// influxResults are the answers to the statements of r, to all of them or to
// none.
func (s *Service) influxResults(w http.ResponseWriter, r *http.Request) ([]influxResult, error) {
	project, err := s.project(r)
	if err != nil {
		return nil, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxQuery)
	if err := r.ParseForm(); err != nil {
		return nil, &fault.Error{Op: "collector.influxQuery", Kind: fault.Invalid, Field: "q", Err: err}
	}
	all := statements(r.Form.Get("q"))
	if len(all) == 0 {
		return nil, &fault.Error{Op: "collector.influxQuery", Kind: fault.Invalid, Field: "q", Err: fmt.Errorf(`missing required parameter "q"`)}
	}
	results := make([]influxResult, len(all))
	for i, statement := range all {
		results[i].Statement = i
		words := strings.Fields(statement)
		is := func(first, second string) bool {
			return len(words) > 1 && strings.EqualFold(words[0], first) && strings.EqualFold(words[1], second)
		}
		switch {
		case is("CREATE", "DATABASE") && len(words) > 2:
		case is("SHOW", "DATABASES") && len(words) == 2:
			results[i].Series = []influxSeries{{Name: "databases", Columns: []string{"name"}, Values: [][]string{{project}}}}
		default:
			return nil, &fault.Error{
				Op: "collector.influxQuery", Kind: fault.Invalid, Field: "q",
				Err: fmt.Errorf("error parsing query: %.100q is not answered here, only CREATE DATABASE and SHOW DATABASES", statement),
			}
		}
	}
	return results, nil
}

// statements splits q at its semicolons, but for those in quotes.
func statements(q string) []string {
	if len(q) > maxQuery {
		return nil
	}
	var all []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	begin, quote := 0, byte(0)
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ';':
			add(q[begin:i])
			begin = i + 1
		}
	}
	add(q[begin:])
	return all
}
