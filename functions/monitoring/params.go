package monitoring

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// maxQuery bounds the query part of a URL, in bytes: room for a filter of
// full length, percent-encoded, and a page token.
const maxQuery = 64 << 10

// system are parameters of every Google API that clients send. They must say
// what is the case here anyway; nil is for one that others read: the API key,
// which proves who calls.
var system = map[string][]string{
	"key": nil,
	"alt": {"json"},
	// With the second, Google's Node client asks for enums as numbers. It gets
	// names, which every reader of proto's JSON takes as well.
	"$alt":        {"json", "json;enum-encoding=int"},
	"prettyPrint": {"true", "false"},
}

// params are the parameters of a request, by their lowerCamel names. Its
// methods remember the first error in err, so that a caller looks once.
type params struct {
	values url.Values
	err    error
}

// parseParams reads the parameters of r, of which only those known may occur,
// and only those that end in "…" more than once.
func parseParams(r *http.Request, known ...string) (*params, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, &fault.Error{
			Op: "monitoring.parseParams", Kind: fault.TooLarge,
			Err: fmt.Errorf("the query parameters are longer than %d bytes", maxQuery),
		}
	}
	raw, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &fault.Error{Op: "monitoring.parseParams", Kind: fault.Invalid, Err: fmt.Errorf("read the query parameters: %w", err)}
	}
	if usual(raw, known) {
		return &params{values: raw}, nil
	}
	p := &params{values: make(url.Values, len(raw))}
	for _, sent := range slices.Sorted(maps.Keys(raw)) {
		name := lowerCamel(sent)
		repeated := slices.ContainsFunc(known, func(k string) bool { k, more := strings.CutSuffix(k, "…"); return more && k == name })
		allowed, isSystem := system[name]
		switch {
		case !repeated && !isSystem && !slices.Contains(known, name):
			p.fail(sent, "unknown query parameter")
		case !repeated && len(raw[sent])+len(p.values[name]) > 1:
			p.fail(sent, "it is given more than once")
		case isSystem && allowed != nil && !slices.Contains(allowed, raw[sent][0]):
			p.fail(sent, "it can only be "+strings.Join(allowed, " or "))
		}
		if p.values[name] == nil {
			p.values[name] = raw[sent]
		} else {
			p.values[name] = append(p.values[name], raw[sent]...)
		}
	}
	return p, p.err
}

// usual reports whether all parameters are known ones, by their very names, and
// none comes twice.
func usual(raw url.Values, known []string) bool {
	for name, values := range raw {
		is := func(k string) bool {
			return strings.HasPrefix(k, name) && (len(k) == len(name) || k[len(name):] == "…")
		}
		if len(values) != 1 || !slices.ContainsFunc(known, is) {
			return false
		}
	}
	return true
}

// lowerCamel turns the snake_case parts of a dotted name into lowerCamel.
func lowerCamel(name string) string {
	if !strings.Contains(name, "_") && utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	upper := false
	for _, r := range name {
		switch {
		case r == '_':
			upper = true
			continue
		case upper && 'a' <= r && r <= 'z':
			r += 'A' - 'a'
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String()
}

// enum is the name of a value of an enum, which may also be sent as its number
// (proto's JSON). What is neither is for others to refuse.
func (p *params) enum(name string, names map[int32]string) string {
	text := p.text(name)
	if text == "" || text[0] > '9' { // a name, which would make an error of ParseInt
		return text
	}
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		if known, ok := names[int32(n)]; ok {
			return known
		}
	}
	return text
}

// fail remembers that the parameter is wrong.
func (p *params) fail(name, reason string) {
	if p.err == nil {
		const shown = 100 // of a name that nobody has checked
		p.err = &fault.Error{
			Op: "monitoring.parseParams", Kind: fault.Invalid, Field: name[:min(len(name), shown)],
			Err: fmt.Errorf("parameter %.*q: %s", shown, name, reason),
		}
	}
}

// text is the value of a parameter, "" when it was not sent.
func (p *params) text(name string) string { return p.values.Get(name) }

// texts are the values of a repeated parameter.
func (p *params) texts(name string) []string { return p.values[name] }

// flag is a parameter that is true or false, which it is when it was not sent.
func (p *params) flag(name string) bool {
	text := p.text(name)
	if text != "" && text != "true" && text != "false" {
		p.fail(name, "it is neither true nor false")
	}
	return text == "true"
}

// number is a whole number, 0 when it was not sent.
func (p *params) number(name string) int {
	text := p.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		p.fail(name, "it is no whole number of 32 bits")
	}
	return int(n)
}

// instant is a time in RFC 3339, the zero time when it was not sent.
func (p *params) instant(name string) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		p.fail(name, `it is no time in RFC 3339, such as 2025-06-01T12:00:00Z; a "+" in a URL is written %2B`)
	}
	return t
}

// duration is a duration in seconds as protobuf's JSON writes it ("60s",
// "1.5s"), 0 when it was not sent.
func (p *params) duration(name string) time.Duration {
	text := p.text(name)
	if text == "" {
		return 0
	}
	d, err := seconds(text)
	if err != nil {
		p.fail(name, `it is no duration in seconds, such as "60s"`)
	}
	return d
}

// seconds reads a decimal number of seconds with the suffix "s".
func seconds(text string) (time.Duration, error) {
	number, found := strings.CutSuffix(text, "s")
	if !found || strings.Trim(number, "-.0123456789") != "" {
		return 0, errors.New("no number of seconds")
	}
	return time.ParseDuration(text)
}
