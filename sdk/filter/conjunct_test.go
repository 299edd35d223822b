package filter_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// holds requires that an index and the residual answer a filter together as the
// filter does alone, whichever of the conditions are used.
func holds(t require.TestingT, r *schema.Resource, f *filter.Filter, m protoreflect.Message) {
	entries := filter.Entries(r, m)
	conditions := f.Conjuncts()
	all := true
	for i, c := range conditions {
		ok := c.Holds(entries)
		all = all && ok
		one := []filter.Condition{conditions[i]}
		require.Equal(t, f.Match(m), ok && f.Residual(one).Match(m), "%s by %+v", f, c)
		if f.Match(m) {
			require.True(t, ok, "%s implies %+v", f, c)
		}
	}
	rest := f.Residual(conditions)
	require.Equal(t, f.Match(m), all && rest.Match(m), "%s by %+v and %s", f, conditions, rest)
	require.Equal(t, f.String(), f.Residual(nil).String())

	name, match := resource.Name(m.Get(r.Name).String()), f.Match(m)
	from, to := f.Names()
	require.True(t, !match || from <= name && (to == "" || name < to), "%s bounds %q to %q..%q", f, name, from, to)
}

func TestConjuncts_Table(t *testing.T) {
	t.Parallel()
	r := robotType()
	text := func(path, s string) []byte {
		x, ok := r.Index(path)
		require.True(t, ok)
		return filter.Key(fieldpath.Value{Value: protoreflect.ValueOfString(s), Desc: x.Path.Desc()})
	}
	number := func(n float64) []byte {
		x, _ := r.Index("spec.power")
		return filter.Key(fieldpath.Value{Value: protoreflect.ValueOfFloat64(n), Desc: x.Path.Desc()})
	}
	f := func(s, residual string, want ...filter.Condition) {
		t.Helper()
		x, err := filter.Parse(r, s)
		require.NoError(t, err)
		got := x.Conjuncts()
		require.Equal(t, want, got, s)
		require.Equal(t, residual, x.Residual(got).String(), s)
	}
	type keys = [][]byte
	uid, lowest, unset := "metadata.uid", []byte{1}, []byte{0}
	f(`spec.armed`, "spec.armed = true")
	f(`metadata.uid = a`, "", filter.Condition{Index: uid, Values: keys{text(uid, "a")}})
	f(`metadata.uid IN (b, a)`, "", filter.Condition{Index: uid, Values: keys{text(uid, "a"), text(uid, "b")}})
	f(`metadata.uid = b OR metadata.uid = a`, "", filter.Condition{Index: uid, Values: keys{text(uid, "a"), text(uid, "b")}})
	f(`metadata.uid = b OR spec.armed`, `metadata.uid = "b" OR spec.armed = true`)
	f(`metadata.uid = b OR metadata.uid > c`, `metadata.uid = "b" OR metadata.uid > "c"`)
	f(`metadata.uid != a`, `metadata.uid != "a"`)
	f(`NOT metadata.uid = a`, `NOT metadata.uid = "a"`)
	f(`metadata.uid = "a*"`, "", filter.Condition{Index: uid, Op: filter.Range, From: []byte("\x07a"), To: []byte("\x07a\xff")})
	f(`metadata.uid LIKE "a%b"`, `metadata.uid LIKE "a%b"`, filter.Condition{Index: uid, Op: filter.Range, From: []byte("\x07a"), To: []byte("\x07a\xff")})
	f(`metadata.uid = "*b"`, `metadata.uid = "*b"`)
	f(`metadata.uid = "*"`, "", filter.Condition{Index: uid, Op: filter.Range, From: lowest})
	f(`metadata.uid IS NULL`, "", filter.Condition{Index: uid, Values: keys{unset, text(uid, "")}})
	f(`metadata.uid IS NOT NULL`, "", filter.Condition{Index: uid, Op: filter.Range, From: text(uid, ""), FromOpen: true})
	f(`metadata.create_time IS NULL`, "", filter.Condition{Index: "metadata.create_time", Values: keys{unset}})
	f(`spec.power > 1`, "", filter.Condition{Index: "spec.power", Op: filter.Range, From: number(1), FromOpen: true, To: number(math.Inf(1)), ToClosed: true})
	f(`spec.power <= 1`, "", filter.Condition{Index: "spec.power", Op: filter.Range, From: lowest, To: number(1), ToClosed: true})
	f(`metadata.labels.color = red`, "", filter.Condition{Index: "metadata.labels", Key: "color", Values: keys{text("metadata.labels", "red")}})
	f(`metadata.labels:color`, "", filter.Condition{Index: "metadata.labels", Key: "color", Op: filter.Range, From: lowest})
	f(`metadata.labels.*:red`, `metadata.labels.* CONTAINS "red"`)
	f(`metadata.labels.color != red`, `metadata.labels.color != "red"`)
	f(`metadata.labels.color IS NULL`, `metadata.labels.color IS NULL`)
	f(`metadata.tags:*`, "", filter.Condition{Index: "metadata.tags", Op: filter.Range, From: lowest})
	f(`metadata.tags CONTAINS ANY (a, b)`, "", filter.Condition{Index: "metadata.tags", Values: keys{text("metadata.tags", "a"), text("metadata.tags", "b")}})
	f(`metadata.tags CONTAINS ALL (a, b)`, "", filter.Condition{Index: "metadata.tags", Op: filter.All, Values: keys{text("metadata.tags", "a"), text("metadata.tags", "b")}})
	f(`spec.parts.serial:a spec.armed`, "spec.armed = true",
		filter.Condition{Index: "spec.parts.*.serial", Values: keys{text("spec.parts.*.serial", "a")}})
	long := strings.Repeat("x", 2000)
	f(`metadata.uid > "`+long+`"`, `metadata.uid > "`+long+`"`)
	f(`metadata.uid = "`+long+`"`, "", filter.Condition{Index: uid, Values: keys{text(uid, long)}})
	many, err := filter.Parse(r, strings.Repeat("metadata.uid = a ", 17))
	require.NoError(t, err)
	require.Len(t, many.Conjuncts(), 16)
	require.Len(t, text(uid, long), 1024)
	require.NotEqual(t, text(uid, long), text(uid, long[1:]+"y"))
}

func TestNames_Bounds(t *testing.T) {
	t.Parallel()
	f := func(text string, from, to resource.Name) {
		t.Helper()
		x, err := filter.Parse(robotType(), text)
		require.NoError(t, err)
		gotFrom, gotTo := x.Names()
		require.Equal(t, []resource.Name{from, to}, []resource.Name{gotFrom, gotTo})
	}
	f(`spec.armed`, "", "")
	f(`name = a`, "a", "a\x00")
	f(`name IN (c, a)`, "a", "c\x00")
	f(`name = "a*" AND name != "a*" AND NOT name = b`, "a", "a\xff")
	f(`name = "*a"`, "", "")
	f(`name > a AND name <= c AND name < b`, "a", "b\x00")
	f(`name > a OR name < b`, "", "")
	f(`spec.model = a`, "", "")
}

func TestEntries_OfARobot(t *testing.T) {
	t.Parallel()
	r := robotType()
	count := map[string]int{}
	for _, e := range filter.Entries(r, (&samplev1.Robot{}).ProtoReflect()) {
		count[e.Index]++
		require.Equal(t, []byte{0}, e.Value, e.Index)
	}
	for _, x := range r.Indexes {
		want := 1
		if x.Many {
			want = 0
		}
		require.Equal(t, want, count[x.Path.String()], x.Path)
	}
	m := robot()
	m.Metadata.Tags = []string{"a", "b", "a"}
	clear(count)
	words := ""
	for _, e := range filter.Entries(r, m.ProtoReflect()) {
		count[e.Index]++
		if e.Index == filter.Words {
			words += string(e.Value) + " "
		}
	}
	require.Equal(t, 2, count["metadata.tags"])
	require.Equal(t, 4, count["metadata.labels"])
	require.Equal(t, 1, count["spec.power"])
	require.Equal(t, 2, count["spec.parts.*.serial"])
	require.Equal(t, "1 100 best none of r red robots spare wheel x ", words)
}

func TestPhrase_FindsByBeginningsOfWords(t *testing.T) {
	t.Parallel()
	m := robot()
	m.Spec.Pin = "secretpin"
	m.DisplayName = "Größe " + strings.Repeat("ä", 40) + " done" + strings.Repeat(" more", 300) + " end"
	entries := filter.Entries(robotType(), m.ProtoReflect())
	f := func(phrase string, want bool) {
		t.Helper()
		conditions, err := filter.Phrase(phrase)
		require.NoError(t, err)
		all := true
		for _, c := range conditions {
			all = all && c.Holds(entries)
		}
		require.Equal(t, want, all, phrase)
	}
	f("größe", true)
	f("GRÖ", true)
	f("r-1", true)
	f("red, größe!", true)
	f("red blue", false)
	f("more", true)
	f("end", false) // too far behind
	f(strings.Repeat("ä", 40), true)
	f("secretpin", false)
	f("wheel", false) // behind as well
	for _, bad := range []string{"", " -- ", "a b c d e f g h i j k l m n o p q", "\xff"} {
		_, err := filter.Phrase(bad)
		require.Error(t, err, bad)
	}
}

// objects are random robots whose values often are those of filters.
func objects(t *rapid.T) *samplev1.Robot {
	word := rapid.SampledFrom([]string{"", "a", "ab", "b", "a*", "a\x00", "ä", "projects/p/models/m", strings.Repeat("a", 1030)})
	number := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, 2.5, math.Inf(1), math.Inf(-1), math.NaN()})
	m := &samplev1.Robot{Name: "projects/p/robots/" + rapid.SampledFrom([]string{"a", "b", "ab"}).Draw(t, "id"), DisplayName: word.Draw(t, "display")}
	if rapid.Bool().Draw(t, "metadata") {
		m.Metadata = &resourcev1.Metadata{
			Tags:       rapid.SliceOfN(word, 0, 3).Draw(t, "tags"),
			Labels:     rapid.MapOfN(rapid.SampledFrom([]string{"k", "l", ""}), word, 0, 2).Draw(t, "labels"),
			Generation: rapid.Int64Range(-1, 2).Draw(t, "generation"), Uid: word.Draw(t, "uid"),
		}
		if rapid.Bool().Draw(t, "time") {
			m.Metadata.CreateTime = &timestamppb.Timestamp{Seconds: rapid.Int64Range(-1, 1).Draw(t, "seconds"), Nanos: rapid.Int32Range(0, 1).Draw(t, "nanos")}
		}
	}
	if rapid.Bool().Draw(t, "spec") {
		m.Spec = &samplev1.RobotSpec{Power: number.Draw(t, "power"), Model: word.Draw(t, "model"), Armed: rapid.Bool().Draw(t, "armed")}
		for _, s := range rapid.SliceOfN(word, 0, 2).Draw(t, "serials") {
			m.Spec.Parts = append(m.Spec.Parts, &samplev1.Part{Serial: s})
		}
		for _, s := range rapid.SliceOfN(word, 0, 1).Draw(t, "aliases") {
			m.Spec.Aliases = append(m.Spec.Aliases, &samplev1.Alias{Network: s})
		}
		if rapid.Bool().Draw(t, "goal") {
			m.Spec.UptimeGoal = durationpb.New(1)
		}
	}
	if rapid.Bool().Draw(t, "state") {
		m.State = &samplev1.RobotState{Phase: samplev1.RobotState_Phase(rapid.Int32Range(0, 4).Draw(t, "phase")), Battery: number.Draw(t, "battery")}
	}
	return m
}

// tests are random tests in text, all of which parse.
func tests(t *rapid.T) string {
	text := rapid.SampledFrom([]string{`""`, `"a"`, `"ab"`, "b", `"a\*"`, `"a\x00"`, `'ä'`, "projects/p/models/m", `"` + strings.Repeat("a", 1030) + `"`})
	glob := rapid.SampledFrom([]string{`"a*"`, `"*"`, `"*b"`, `"a\**"`, `projects/*`, `"*\x00*"`})
	like := rapid.SampledFrom([]string{`"a%"`, `"%"`, `"_"`, `"a_"`, `"a"`, `"%b%"`})
	number := rapid.SampledFrom([]string{"0", "-0", "1", "-1", "2.5", "inf", "-inf"})
	compare := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="})
	times := rapid.SampledFrom([]string{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000001Z", "1969-12-31T23:59:59Z"})
	one := func(paths ...string) string { return rapid.SampledFrom(paths).Draw(t, "path") }
	singular := func() string {
		return one("display_name", "spec.model", "metadata.uid", "metadata.labels.k", "metadata.labels.``", "name")
	}
	many := func() string {
		return one("metadata.tags", "spec.parts.serial", "spec.aliases.network", "metadata.labels.*")
	}
	in := rapid.SampledFrom([]string{" IN ", " NOT IN "})
	pair := func(g *rapid.Generator[string]) string {
		return "(" + g.Draw(t, "first") + ", " + g.Draw(t, "second") + ")"
	}
	switch rapid.IntRange(0, 13).Draw(t, "kind") {
	case 0:
		return singular() + compare.Draw(t, "op") + text.Draw(t, "text")
	case 1:
		return singular() + one("=", "!=", ":") + glob.Draw(t, "glob")
	case 2:
		return singular() + " LIKE " + like.Draw(t, "like")
	case 3:
		return singular() + in.Draw(t, "in") + pair(text)
	case 4:
		return one("spec.power", "state.battery") + compare.Draw(t, "op") + number.Draw(t, "number")
	case 5:
		return one("spec.power", "state.battery") + in.Draw(t, "in") + pair(number)
	case 6:
		return one("spec.power", "state.battery") + one(" IS NaN", " IS NOT NaN")
	case 7:
		return many() + one(":", " CONTAINS ") + text.Draw(t, "text")
	case 8:
		return many() + one(" CONTAINS ANY ", " HAS ALL ") + pair(text)
	case 9:
		return many() + ":" + glob.Draw(t, "glob")
	case 10:
		return one("metadata.create_time") + compare.Draw(t, "op") + times.Draw(t, "time")
	case 11:
		return "state.phase" + one("=", "!=") + one("IDLE", "BUSY", "PHASE_UNSPECIFIED", "4")
	case 12:
		return one("metadata.labels:k", "metadata.labels CONTAINS ALL (k, l)", "metadata.labels HAS ANY (k, l)", "spec:power", "spec.armed", "metadata.generation > 0")
	}
	return one("display_name", "spec.model", "spec.power", "state.phase", "metadata.tags", "metadata.labels", "metadata.labels.k", "spec.parts.serial",
		"metadata.create_time", "metadata.uid", "spec", "spec.aliases", "spec.armed", "metadata.generation") + one(" IS NULL", " IS NOT NULL", ":*")
}

// filters are random filters in text.
func filters(t *rapid.T, depth int) string {
	var parts []string
	for range rapid.IntRange(1, 3).Draw(t, "parts") {
		p := ""
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "group") == 0 {
			p = "(" + filters(t, depth-1) + ")"
		} else {
			p = tests(t)
		}
		parts = append(parts, rapid.SampledFrom([]string{"", "", "", "NOT ", "-"}).Draw(t, "not")+p)
	}
	s := parts[0]
	for _, p := range parts[1:] {
		s += rapid.SampledFrom([]string{" AND ", " AND ", " ", " OR "}).Draw(t, "join") + p
	}
	return s
}

// The index and the residual together say what the filter says, and the
// canonical text says the same and is a fixed point.
func TestFilter_IndexAgreesWithMatch(t *testing.T) {
	t.Parallel()
	r := robotType()
	rapid.Check(t, func(t *rapid.T) {
		text := filters(t, 2)
		f, err := filter.Parse(r, text)
		require.NoError(t, err, text)
		again, err := filter.Parse(r, f.String())
		require.NoError(t, err, f.String())
		require.Equal(t, f.String(), again.String())
		for range 5 {
			m := objects(t).ProtoReflect()
			holds(t, r, f, m)
			require.Equal(t, f.Match(m), again.Match(m), "%s and %s", text, f)
		}
	})
}
