package prometheus

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/promql"
)

// params are the parameters of a request. The first one that cannot be read is
// kept as err.
type params struct {
	r       *http.Request
	project string
	err     error
}

// missing is the default of a parameter that must be there.
const missing = math.MinInt64

// maxMatchers bounds the selectors of a request, each of which is a search.
const maxMatchers = 100

// defaultPast is how far back series are looked for when a request does not
// say: the index of series is not kept apart from their points.
const defaultPast = 24 * time.Hour

// text is a parameter as it is, "" if it is not there.
func (p *params) text(name string) string { return p.r.Form.Get(name) }

// now is the time of the request.
func (*params) now() int64 { return time.Now().UnixMilli() }

// path is a part of the path. A name that is not plain comes escaped as
// Prometheus escapes it: U__ and _HEX_ for what is no letter.
func (p *params) path(name string) string {
	v := chi.URLParam(p.r, name)
	if p.r.URL.RawPath != "" {
		if plain, err := url.PathUnescape(v); err == nil {
			v = plain
		}
	}
	return unescapeName(v)
}

// unescapeName reads the escape of Prometheus' paths; a text that is none is
// returned as it is.
func unescapeName(v string) string {
	rest, ok := strings.CutPrefix(v, "U__")
	if !ok {
		return v
	}
	var b strings.Builder
	for rest != "" {
		if rest[0] != '_' {
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		hex, after, found := strings.Cut(rest[1:], "_")
		switch n, err := strconv.ParseUint(hex, 16, 32); {
		case !found:
			return v
		case hex == "":
			b.WriteByte('_')
		case err != nil:
			return v
		default:
			b.WriteRune(rune(n))
		}
		rest = after
	}
	return b.String()
}

// fail keeps the first mistake.
func (p *params) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = invalid(name, format, args...)
	}
}

// instant is a time: RFC 3339, or seconds.
func (p *params) instant(name string, otherwise int64) tsdb.Millis {
	text, prefix := p.text(name), ""
	if otherwise != missing {
		if text == "" {
			return tsdb.Millis(otherwise)
		}
		prefix = "invalid time value for '" + name + "': "
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(v) < 1e13 {
		return tsdb.Millis(math.Round(v * 1000))
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		p.fail(name, "%scannot parse %q to a valid timestamp", prefix, text)
		return 0
	}
	return tsdb.Millis(t.UnixMilli())
}

// duration is a duration: 1h30m, or seconds.
func (p *params) duration(name string, otherwise int64) time.Duration {
	text := p.text(name)
	if text == "" && otherwise != missing {
		return time.Duration(otherwise)
	}
	d, err := promql.ParseDuration(text)
	if err != nil {
		p.fail(name, "cannot parse %q to a valid duration", text)
	}
	return d
}

// number is a whole number that is not negative, 0 if it is not there.
func (p *params) number(name string) int {
	text := p.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		p.fail(name, "%w", err)
	} else if n < 0 {
		p.fail(name, "%s must be non-negative", name)
	}
	return n
}

// browse are the parameters of requests about series.
func (p *params) browse() promql.Browse {
	end := p.instant("end", p.now())
	b := promql.Browse{
		Project: p.project, Match: p.r.Form["match[]"], End: end,
		Start: p.instant("start", int64(end)-defaultPast.Milliseconds()), Limit: p.number("limit"),
	}
	if len(b.Match) > maxMatchers {
		p.fail("match[]", "there are more than %d", maxMatchers)
	}
	if b.Start > b.End {
		p.fail("end", "end timestamp must not be before start time")
	}
	return b
}
