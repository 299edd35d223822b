package conformance

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

const (
	// randomFilters and randomEvents make 24,000 pairs, for about the time that
	// the table takes.
	randomFilters, randomEvents = 3000, 8
	// seed is printed with every failure; another one is another corpus.
	seed = 20260301
)

// generator makes filters and events out of few enough words that they often
// meet.
type generator struct{ *rand.Rand }

// pick is one of the items.
func pick[T any](g generator, items ...T) T { return items[g.IntN(len(items))] }

// words are the attributes and the values that events have for them.
var words = map[string][]string{
	"type":            {"com.example.climate", "org.example.door", "5"},
	"source":          {"/devices/d"},
	"subject":         {"hall", "5", "TRUE"},
	"id":              {"1", "5"},
	"time":            {"2026-03-01T12:00:00Z", "2026-03-01T12:00:01+01:00"},
	"dataschema":      {"https://example.com/s.json"},
	"datacontenttype": {"application/json", "text/plain; charset=utf-8"},
	"specversion":     {"1.0"},
	"region":          {"eu-west", "5", "true"},
	"level":           {"5", "-5", "1", "eu-west"},
	"urgent":          {"true", "false", "TRUE", "1"},
	"nosuch":          {"5"},
}

// entry is an attribute's name, rarely one that is refused, with one of its
// values or a beginning or an end of one, rarely with nothing.
func (g generator) entry() (name, value string) {
	name = pick(g, names(words)...)
	value = pick(g, words[name]...)
	switch g.IntN(6) {
	case 0:
		value = value[:1+g.IntN(len(value))]
	case 1:
		value = value[g.IntN(len(value)):]
	}
	switch g.IntN(120) {
	case 0:
		value = ""
	case 1:
		name = pick(g, "Type", "my-ext", "")
	}
	return name, value
}

// entries is a map of one or two attributes.
func (g generator) entries() map[string]string {
	m := map[string]string{}
	for range 1 + g.IntN(4)/3 {
		name, value := g.entry()
		m[name] = value
	}
	return m
}

// specs is a list of up to three elements, rarely of none.
func (g generator) specs(depth int) []filter.Spec {
	list := make([]filter.Spec, pick(g, 1, 2, 3)*min(g.IntN(30), 1))
	for i := range list {
		list[i] = g.spec(depth)
	}
	return list
}

// spec is an element with up to depth levels below it, rarely with two dialects
// or none.
func (g generator) spec(depth int) filter.Spec {
	var s filter.Spec
	kinds := 7
	if depth == 0 {
		kinds = 4
	}
	dialects := 1
	if g.IntN(60) == 0 {
		dialects = pick(g, 0, 2)
	}
	for range dialects {
		switch g.IntN(kinds) {
		case 0:
			s.Exact = g.entries()
		case 1:
			s.Prefix = g.entries()
		case 2:
			s.Suffix = g.entries()
		case 3:
			s.CESQL = g.boolean(2)
		case 4:
			s.All = g.specs(depth - 1)
		case 5:
			s.Any = g.specs(depth - 1)
		case 6:
			below := g.spec(depth - 1)
			s.Not = &below
		}
	}
	return s
}

// boolean is a CESQL expression that is a boolean as far as it can be
// evaluated, rarely with a mistake.
func (g generator) boolean(depth int) string {
	if g.IntN(60) == 0 {
		return pick(g, "type =", "(TRUE", "$level > 1", "TRUE ~", "level", "NOT", "SUBSTRING(type, 1, -1) = ''")
	}
	if depth > 0 && g.IntN(2) == 0 {
		left, right := g.boolean(depth-1), g.boolean(depth-1)
		return pick(g, "NOT ("+left+")", "("+left+") AND ("+right+")", left+" OR "+right, left+" XOR "+right)
	}
	return pick(g,
		"TRUE", "EXISTS "+g.identifier(), g.equation(), g.equation(), g.equation(),
		g.term(depth)+" = "+g.term(depth), g.term(depth)+" != "+g.term(depth), g.term(depth)+" < "+g.term(depth),
		g.term(depth)+" >= "+g.term(depth), g.term(depth)+" LIKE "+g.literal(), g.term(depth)+" NOT LIKE '%"+pick(g, "e", "_", "5")+"%'",
		g.term(depth)+" IN ("+g.term(depth)+", "+g.term(depth)+")", "BOOL("+g.term(depth)+")", "IS_INT("+g.term(depth)+")",
	)
}

// term is a CESQL expression of any type.
func (g generator) term(depth int) string {
	if depth == 0 || g.IntN(2) == 0 {
		return pick(g, g.identifier(), g.identifier(), g.literal(), strconv.Itoa(g.IntN(12)-5), "TRUE")
	}
	arg := g.term(depth - 1)
	return pick(g,
		"INT("+arg+")", "STRING("+arg+")", "LENGTH("+arg+")", "UPPER("+arg+")", "LEFT("+arg+", 3)", "SUBSTRING("+arg+", 2, 2)",
		"CONCAT("+arg+", 'x')", "ABS("+arg+")", "-"+arg, arg+" + 1", arg+" / "+g.term(depth-1),
	)
}

// identifier is an attribute's name in any case.
func (g generator) identifier() string {
	name, _ := g.entry()
	if !strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyz") || strings.Contains(name, "-") {
		return "type"
	}
	return pick(g, name, name, strings.ToUpper(name))
}

// literal is a string in quotes, sometimes with wildcards.
func (g generator) literal() string {
	_, value := g.entry()
	return fmt.Sprintf(pick(g, "'%s'", `"%s"`), strings.ReplaceAll(value, "-", pick(g, "-", "_", "%")))
}

// equation is a comparison of an attribute and one of its values.
func (g generator) equation() string {
	name := pick(g, names(words)...)
	return fmt.Sprintf("%s %s '%s'", name, pick(g, "=", "=", "!=", "LIKE"), pick(g, words[name]...))
}

// event is an event with some of its attributes set.
func (g generator) event() *event.Event {
	e := made()
	e.SetType(pick(g, words["type"]...))
	e.SetID(pick(g, words["id"]...))
	maybe := func(f func()) {
		if g.IntN(3) > 0 {
			f()
		}
	}
	maybe(func() { e.SetSubject(pick(g, words["subject"]...)) })
	maybe(func() {
		zone := g.IntN(2)
		e.SetTime(time.Date(2026, 3, 1, 12, 0, zone, 0, time.FixedZone("", zone*3600)))
	})
	maybe(func() { e.SetDataSchema(words["dataschema"][0]) })
	maybe(func() { e.SetDataContentType(pick(g, words["datacontenttype"]...)) })
	for _, name := range []string{"region", "level", "urgent"} {
		maybe(func() {
			e.SetExtension(name, pick[any](g, pick(g, words[name]...), pick(g, words[name]...), "", 5, -5, 1, true, false, []byte("5"), time.Unix(0, 0)))
		})
	}
	return e
}

// TestFilters_Random compares generated filters on generated events. A filter
// is refused by us exactly when Knative refuses it or there is a reason to
// differ; a verdict differs only where Knative panics.
func TestFilters_Random(t *testing.T) {
	t.Parallel()
	seen := map[outcome]int{}
	differ := map[string]int{}
	for i := range uint64(randomFilters) {
		g := generator{rand.New(rand.NewPCG(seed, i))}
		specs := g.specs(3)
		theirs, our := newKnative(t, specs), newOurs(specs)
		for range randomEvents {
			e := g.event()
			want, got := theirs.on(e), our.on(e)
			switch why := reason(specs); {
			case want == panics && why == "":
				require.NotEqual(t, refused, got, "seed %d, filter %d: %+v", seed, i, specs)
				differ["panics"]++
				continue
			case want != refused && why != "":
				differ[why]++
				want = refused
			}
			require.Equal(t, want, got, "seed %d, filter %d: %+v on %s(%v)", seed, i, specs, e, our.err)
			seen[got]++
		}
		theirs.close()
	}
	t.Logf("outcomes: %v; differences: %v", seen, differ)
	for _, o := range []outcome{"Pass", "Fail", "NoFilter", refused} {
		require.Greater(t, seen[o], randomEvents, "too few of %s to mean anything", o)
	}
	require.Greater(t, min(seen["Pass"], seen["Fail"]), 2000)
}

// TestAttributes_Random does the same for the older filter.attributes map, from
// which we do not differ.
func TestAttributes_Random(t *testing.T) {
	t.Parallel()
	for i := range uint64(randomFilters) {
		g := generator{rand.New(rand.NewPCG(seed+1, i))}
		entries, e := g.entries(), g.event()
		theirs, our := attributesOutcomes(entries, e)
		require.Equal(t, theirs, our, "seed %d, filter %d: %v on %s", seed+1, i, entries, e)
	}
}
