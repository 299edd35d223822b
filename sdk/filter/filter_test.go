package filter_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// typeOf is a type of the sample services.
func typeOf(name string) *schema.Resource {
	var r schema.Registry
	samplev1.AddTo(&r)
	secretsv1.AddTo(&r)
	x, ok := r.Type(name)
	if !ok {
		panic("BUG: no type " + name)
	}
	return x
}

// robotType is the type that most tests filter objects of.
func robotType() *schema.Resource { return typeOf("sample.selvedge.dev/Robot") }

// robot is an object with something of everything.
func robot() *samplev1.Robot {
	return &samplev1.Robot{
		Name: "projects/p/robots/r-1",
		Metadata: &resourcev1.Metadata{
			CreateTime: &timestamppb.Timestamp{Seconds: 1335022200}, // 2012-04-21T15:30:00Z
			Uid:        "u-1", Generation: 3,
			Tags:    []string{"red", "fast"},
			Labels:  map[string]string{"color": "red", "a/b": "x", "": "none", "empty": ""},
			Shards:  map[string]int64{"byName": 7},
			Syncing: &resourcev1.Syncing{OwningRegion: "us-west2", Regions: []string{"us-west2", "eu"}},
		},
		DisplayName: "Best *of* 100% robots\\",
		Spec: &samplev1.RobotSpec{
			Model: "projects/p/models/m", Power: 2.5, Armed: true, UptimeGoal: durationpb.New(1500e6),
			Parts:    []*samplev1.Part{{Serial: "s1", Count: 2}, {Serial: "s2", Note: "spare wheel"}},
			Spares:   map[string]*samplev1.Part{"left": {Serial: "s3"}, "a.b": {Count: 1}},
			Settings: &structpb.Struct{},
		},
		State: &samplev1.RobotState{Phase: samplev1.RobotState_BUSY, Battery: 80},
	}
}

func TestMatch_Table(t *testing.T) {
	t.Parallel()
	r, m := robotType(), robot()
	wire, err := proto.Marshal(m)
	require.NoError(t, err)
	dynamic := dynamicpb.NewMessage(m.ProtoReflect().Descriptor())
	require.NoError(t, proto.Unmarshal(wire, dynamic))
	f := func(text string, want bool) {
		t.Helper()
		x, err := filter.Parse(r, text)
		require.NoError(t, err, text)
		require.Equal(t, want, x.Match(m.ProtoReflect()), text)
		require.Equal(t, want, x.Match(dynamic), "dynamic: %s", text)
		again, err := filter.Parse(r, x.String())
		require.NoError(t, err, x.String())
		require.Equal(t, x.String(), again.String())
		require.Equal(t, want, again.Match(m.ProtoReflect()), again.String())
		holds(t, r, x, m.ProtoReflect())
	}
	// Nothing is asked.
	f("", true)
	f(" \t\n", true)
	// Comparisons.
	f(`spec.power = 2.5`, true)
	f(`spec.power=2.5`, true)
	f(`spec.power != 2.5`, false)
	f(`spec.power > 2`, true)
	f(`spec.power >= 2.5e0`, true)
	f(`spec.power < 2.5`, false)
	f(`spec.power <= 2.5`, true)
	f(`spec.power > -inf AND spec.power < inf`, true)
	f(`spec.power > -3`, true)
	f(`metadata.generation = 3`, true)
	f(`metadata.generation >= 4`, false)
	f(`metadata.generation:3`, true)
	f(`metadata.uid < "u-2"`, true)
	f(`metadata.uid > u`, true)
	f(`spec.model = projects/p/models/m`, true)
	f(`spec.model = 'projects/p/models/m'`, true)
	f(`spec.armed = true`, true)
	f(`spec.armed`, true)
	f(`NOT spec.armed`, false)
	f(`-spec.armed`, false)
	f(`spec.armed != true`, false)
	f(`state.phase = BUSY`, true)
	f(`state.phase = "BUSY"`, true)
	f(`state.phase != IDLE`, true)
	f(`state.phase IN (IDLE, BUSY)`, true)
	f(`state.phase = 2`, true)
	f(`spec.uptime_goal = 1.5s`, true)
	f(`spec.uptime_goal = "1.5s"`, true)
	f(`spec.uptime_goal > duration("1s")`, true)
	f(`spec.uptime_goal < 1s`, false)
	f(`spec.uptime_goal > -20s`, true)
	f(`metadata.create_time = 2012-04-21T11:30:00-04:00`, true)
	f(`metadata.create_time < "2012-04-21T15:30:00.000000001Z"`, true)
	f(`metadata.create_time >= timestamp("2012-04-21T15:30:00Z")`, true)
	f(`metadata.create_time < 1900-01-01T00:00:00Z`, false)
	// Names of JSON, quoted names.
	f(`metadata.createTime > 2012-01-01T00:00:00Z`, true)
	f(`displayName != x`, true)
	f("`spec`.`power` = 2.5", true)
	// Maps.
	f(`metadata.labels.color = red`, true)
	f(`metadata.labels.color:red`, true)
	f(`metadata.labels.color != red`, false)
	f("metadata.labels.`a/b` = x", true)
	f(`metadata.labels."a/b" = x`, true)
	f("metadata.labels.`` = none", true)
	f(`metadata.labels.empty = ""`, true)
	f(`metadata.labels.empty IS NULL`, false)
	f(`metadata.labels:color`, true)
	f(`metadata.labels:"a/b"`, true)
	f(`metadata.labels:none`, false)
	f(`metadata.labels CONTAINS color`, true)
	f(`metadata.labels HAS ANY (no, color)`, true)
	f(`metadata.labels HAS ALL (no, color)`, false)
	f(`metadata.labels CONTAINS ALL ("a/b", color)`, true)
	f(`metadata.labels.color:*`, true)
	f(`metadata.labels.no:*`, false)
	f(`metadata.labels:*`, true)
	f(`metadata.labels IS NULL`, false)
	f(`metadata.labels.*:red`, true)
	f(`metadata.labels.* CONTAINS blue`, false)
	f(`metadata.labels.*:r*`, true)
	f(`metadata.shards.byName = 7`, true)
	f(`metadata.shards.byName IN (1, 7)`, true)
	f(`spec.spares.left.serial = s3`, true)
	f(`spec.spares.*.serial:s3`, true)
	f(`spec.spares.*.serial CONTAINS ALL (s3, "")`, true)
	f("spec.spares.`a.b`.count = 1", true)
	f(`spec.spares.left IS NOT NULL`, true)
	f(`spec.spares.left:serial`, true)
	f(`spec.spares.left:count`, false)
	f(`spec.spares:"x y"`, false)
	// Lists.
	f(`metadata.tags:red`, true)
	f(`metadata.tags.*:red`, true)
	f(`metadata.tags CONTAINS blue`, false)
	f(`metadata.tags CONTAINS ANY (blue, fast)`, true)
	f(`metadata.tags CONTAINS ALL (red, fast, red)`, true)
	f(`metadata.tags CONTAINS ALL (red, blue)`, false)
	f(`metadata.tags contains any`, false)
	f(`metadata.tags:"f*"`, true)
	f(`metadata.tags CONTAINS "f*"`, false)
	f(`metadata.tags:*`, true)
	f(`metadata.tags IS NULL`, false)
	f(`metadata.syncing.regions CONTAINS "*"`, false)
	f(`spec.parts.serial:s1`, true)
	f(`spec.parts.serial HAS s3`, false)
	f(`spec.parts.*.note:*`, true)
	f(`spec.parts.count CONTAINS ANY (1, 2)`, true)
	f(`spec.parts:serial`, true)
	f(`spec.friends:*`, false)
	f(`spec.friends IS NULL`, true)
	f(`spec.aliases.network IS NULL`, true)
	// Messages.
	f(`spec:*`, true)
	f(`spec:power`, true)
	f(`spec:color`, false)
	f(`spec.settings:*`, true)
	f(`state.seen_time IS NULL`, true)
	f(`state.seen_time > 2000-01-01T00:00:00Z`, false)
	f(`NOT state.seen_time > 2000-01-01T00:00:00Z`, true)
	// NaN.
	f(`spec.power IS NaN`, false)
	f(`spec.power IS NOT nan`, true)
	// Text with wildcards.
	f(`name = "projects/p/*"`, true)
	f(`name = projects/*/robots/r-1`, true)
	f(`name = *r-1`, true)
	f(`name = *q*`, false)
	f(`name != "*q*"`, true)
	f(`name = "*"`, true)
	f(`name = "projects\*"`, false)
	f(`display_name = "Best \*of\**"`, true)
	f(`display_name = "Best \*of\* 100% robots\\"`, true)
	f(`display_name = "* robots\\"`, true)
	f(`display_name IN ("Best *of* 100% robots\\")`, true)
	f(`display_name LIKE "Best%"`, true)
	f(`display_name LIKE "best%"`, false)
	f(`display_name like '%100\% robots_'`, true)
	f(`display_name LIKE "%100\_ robots_"`, false)
	f(`display_name LIKE "%"`, true)
	f(`display_name LIKE "Best _of_ 100_ robots_"`, true)
	f(`display_name LIKE "_"`, false)
	f(`metadata.uid LIKE "u-1"`, true)
	f(`metadata.uid LIKE "u-_"`, true)
	f(`metadata.uid = "\x75\u002d\U00000031"`, true)
	// Words in either case.
	f(`spec.power in (1, 2.5) and not spec.armed is null`, true)
	f(`spec.power Not In (1, 2)`, true)
}

// TestMatch_NotSet is the table of the package's comment.
func TestMatch_NotSet(t *testing.T) {
	t.Parallel()
	r := robotType()
	f := func(test string, notThere, zero, present, seven bool) {
		t.Helper()
		check := func(path, zeroText, sevenText string, m *samplev1.Robot, want bool) {
			text := strings.NewReplacer("x", path, "0", zeroText, "7", sevenText, "9", "9"+strings.TrimPrefix(sevenText, "7")).Replace(test)
			x, err := filter.Parse(r, text)
			require.NoError(t, err, text)
			require.Equal(t, want, x.Match(m.ProtoReflect()), text)
			holds(t, r, x, m.ProtoReflect())
		}
		zeroTime := &samplev1.Robot{Spec: &samplev1.RobotSpec{UptimeGoal: &durationpb.Duration{}}}
		sevenTime := &samplev1.Robot{Spec: &samplev1.RobotSpec{UptimeGoal: &durationpb.Duration{Seconds: 7}}}
		for _, path := range []string{"spec.power", "state.battery"} {
			check(path, "0", "7", &samplev1.Robot{}, notThere)
			check(path, "0", "7", &samplev1.Robot{Spec: &samplev1.RobotSpec{}, State: &samplev1.RobotState{}}, zero)
			check(path, "0", "7", &samplev1.Robot{Spec: &samplev1.RobotSpec{Power: 7}, State: &samplev1.RobotState{Battery: 7}}, seven)
		}
		if !strings.Contains(test, "NaN") {
			check("spec.uptime_goal", "0s", "7s", &samplev1.Robot{}, notThere)
			check("spec.uptime_goal", "0s", "7s", &samplev1.Robot{Spec: &samplev1.RobotSpec{}}, notThere)
			check("spec.uptime_goal", "0s", "7s", zeroTime, present)
			check("spec.uptime_goal", "0s", "7s", sevenTime, seven)
			check("metadata.shards.k", "0", "7", &samplev1.Robot{Metadata: &resourcev1.Metadata{Shards: map[string]int64{"l": 0}}}, notThere)
			check("metadata.shards.k", "0", "7", &samplev1.Robot{Metadata: &resourcev1.Metadata{Shards: map[string]int64{"k": 0}}}, present)
		}
	}
	f("x = 0", false, true, true, false)
	f("x != 0", false, false, false, true)
	f("x != 7", false, true, true, false)
	f("x < 9", false, true, true, true)
	f("x IN (0)", false, true, true, false)
	f("x NOT IN (7)", false, true, true, false)
	f("NOT x = 7", true, true, true, false)
	f("NOT x != 7", true, false, false, true)
	f("x IS NULL", true, true, false, false)
	f("x IS NOT NULL", false, false, true, true)
	f("x:*", false, false, true, true)
	f("x IS NOT NaN", false, true, true, true)
}

func TestParse_Precedence(t *testing.T) {
	t.Parallel()
	r := robotType()
	f := func(text, want string) {
		t.Helper()
		text = strings.NewReplacer("a", "spec.armed", "b", "spec.power = 1", "c", "name = c", "d", "metadata.labels:d").Replace(text)
		x, err := filter.Parse(r, text)
		require.NoError(t, err, text)
		short := strings.NewReplacer("spec.armed = true", "a", "spec.power = 1", "b", `name = "c"`, "c", "metadata.labels.d IS NOT NULL", "d").Replace(x.String())
		require.Equal(t, want, short)
	}
	f("a AND b OR c", "a AND (b OR c)")
	f("a OR b AND c", "(a OR b) AND c")
	f("a OR b AND c OR d", "(a OR b) AND (c OR d)")
	f("(a AND b) OR c", "(a AND b) OR c")
	f("a b OR c", "a AND (b OR c)")
	f("a b AND c d", "a AND b AND c AND d")
	f("a (b OR c) d", "a AND (b OR c) AND d")
	f("a (b)c", "a AND b AND c")
	f("(a)(b)", "a AND b")
	f("((a))", "a")
	f("(a AND (b AND c))", "a AND b AND c")
	f("a OR (b OR c)", "a OR b OR c")
	f("NOT a OR b", "NOT a OR b")
	f("-a AND b", "NOT a AND b")
	f("NOT (a OR b) c", "NOT (a OR b) AND c")
	f("NOT(a b)", "NOT (a AND b)")
	f("-(NOT a)", "a")
	f("a NOT b", "a AND NOT b")
	f("a -b", "a AND NOT b")
}

func TestString_Canonical(t *testing.T) {
	t.Parallel()
	r := robotType()
	f := func(text, want string) {
		t.Helper()
		x, err := filter.Parse(r, text)
		require.NoError(t, err, text)
		require.Equal(t, want, x.String())
		again, err := filter.Parse(r, want)
		require.NoError(t, err, want)
		require.Equal(t, want, again.String())
	}
	f(`displayName='a"b\'c\n\*'`, `display_name = "a\"b'c\x0a\*"`)
	f(`display_name > "*"`, `display_name > "*"`)
	f(`display_name:a*b`, `display_name = "a*b"`)
	f(`display_name = "a**b"`, `display_name = "a*b"`)
	f(`display_name LIKE 'a%\%_*'`, `display_name LIKE "a%\%_*"`)
	f(`display_name LIKE "abc"`, `display_name = "abc"`)
	f(`display_name LIKE "a*c"`, `display_name = "a\*c"`)
	f(`spec.power IN (3, 1.0, 3)`, `spec.power IN (1, 3)`)
	f(`spec.power IN (3)`, `spec.power = 3`)
	f(`spec.power NOT IN (3)`, `spec.power != 3`)
	f(`spec.power < inf`, `spec.power < Infinity`)
	f(`spec.power > -Infinity`, `spec.power > -Infinity`)
	f(`spec.uptime_goal = 90s`, `spec.uptime_goal = 90s`)
	f(`metadata.create_time = 2012-04-21T11:30:00-04:00`, `metadata.create_time = "2012-04-21T15:30:00Z"`)
	f("metadata.labels:\"a b\"", "metadata.labels.`a b` IS NOT NULL")
	f("metadata.labels.`*`:x", "metadata.labels.`*` = \"x\"")
	f("metadata.labels.*:x", "metadata.labels.* CONTAINS \"x\"")
	f("metadata.tags HAS ANY (b, a)", `metadata.tags CONTAINS ANY ("a", "b")`)
	f("metadata.tags.*:a", `metadata.tags CONTAINS "a"`)
	f("spec.parts.serial:a*", `spec.parts.*.serial:"a*"`)
	f("metadata.labels CONTAINS ANY (a, b)", `metadata.labels.a IS NOT NULL OR metadata.labels.b IS NOT NULL`)
	f("state.phase=1", `state.phase = IDLE`)
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	f := func(text, message string) {
		t.Helper()
		_, err := filter.Parse(robotType(), text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{"filter", "INVALID_FILTER"}, []string{e.Field, e.Reason})
		require.Contains(t, e.Message(), message)
		require.Less(t, len(e.Message()), 600)
	}
	// Fields.
	f(`color = 1`, `column 1: Robot has no field "color"`)
	f(`spec.colour = red`, `column 6: RobotSpec has no field "colour": did you mean color?`)
	f(`metadat.labels:x`, `did you mean metadata?`)
	f(`metadata.labels.color.x = 1`, `column 23: metadata.labels.color has no fields, so there is no "x" in it`)
	f(`metadata.create_time.seconds = 1`, `metadata.create_time has no fields`)
	f(`spec.pin = "1234"`, `column 6: pin is secret`)
	f(`spec:pin`, `pin is secret`)
	f(`spec.*.pin:1`, `RobotSpec has no field`)
	f(`state.token:*`, `token is secret`)
	f(`metadata.owner_references.name:x`, `column 10: owner_references: resources are not found by their owners`) // SPEC 1.F 26
	f(`metadata.ownerReferences:*`, `owner_references: resources are not found by their owners`)                  // SPEC 1.F 26
	f(`metadata:owner_references`, `owner_references: resources are not found by their owners`)                   // SPEC 1.F 26
	f(`metadata.annotations.x = y`, `annotations: annotations are not to be found by`)
	f(`spec.settings.x = 1`, `a Struct cannot be looked into`)
	f(`spec.settings:x`, `a Struct cannot be looked into`)
	f(`metadata.shards.x.y = 1`, `no fields`)
	// Types.
	f(`spec.power = "2.5"`, `column 14: spec.power wants a number, not the text "2.5"`)
	f(`spec.power = red`, `spec.power wants a number, not red`)
	f(`spec.power = NaN`, `use spec.power IS NaN`)
	f(`spec.power = null`, `use spec.power IS NULL`)
	f(`metadata.generation = 1.5`, `metadata.generation wants an integer (int64), not 1.5`)
	f(`metadata.generation = 99999999999999999999`, `wants an integer`)
	f(`spec.parts.count:3000000000`, `wants an integer (int32)`)
	f(`spec.armed = yes`, `spec.armed wants true or false, not yes`)
	f(`spec.armed < true`, `spec.armed has no order`)
	f(`state.phase > IDLE`, `state.phase has no order`)
	f(`state.phase = idle`, `state.phase wants one of PHASE_UNSPECIFIED, IDLE, BUSY, BROKEN, not idle`)
	f(`spec.uptime_goal = 5`, `spec.uptime_goal wants a duration such as 1.5s, not 5`)
	f(`metadata.create_time > 2012`, `metadata.create_time wants a time such as`)
	f(`metadata.create_time > duration("1s")`, `not a duration`)
	f(`display_name > duration("1s")`, `display_name wants text, not a duration`)
	f(`spec.power LIKE "2%"`, `LIKE is for text, and spec.power is a number`)
	f(`spec = 1`, `spec is a message: name a field of it`)
	f(`spec IN (1)`, `spec is a message`)
	f(`metadata.labels = x`, `metadata.labels is a map: name a key of it`)
	f(`metadata.tags = red`, `metadata.tags has many values: use ":" or CONTAINS`)
	f(`metadata.tags IN (red)`, `use CONTAINS ANY`)
	f(`metadata.tags`, `want a comparison after metadata.tags`)
	f(`display_name CONTAINS x`, `display_name has no values to contain: use = or LIKE`)
	f(`display_name IS NaN`, `never NaN`)
	// Grammar.
	f(`red`, `Robot has no field "red"`)
	f(`"red"`, `column 1: want a field, not`)
	f(`42`, `want a field, not "42"`)
	f(`display_name`, `column 13: want a comparison after display_name, such as = or IN, not the end`)
	f(`display_name =`, `column 15: want a value, not the end`)
	f(`display_name == x`, `want a value, not "="`)
	f(`display_name = x AND`, `want a field, not the end`)
	f(`display_name = AND`, `want a value, not "AND"`)
	f(`AND`, `want a field, not "AND"`)
	f(`NOT NOT spec.armed`, `want a field, not "NOT"`)
	f(`(spec.armed`, `column 12: want AND, OR or a closing parenthesis, not the end`)
	f(`spec.armed)`, `column 11: want AND, OR or the end, not ")"`)
	f(`()`, `want a field, not ")"`)
	f(`display_name = "x`, `column 16: this quote is not closed`)
	f("`x", `this backtick is not closed`)
	f(`display_name = "\q"`, `column 17: "\\q" begins no escape`)
	f(`display_name = "\uD800"`, `begins no escape`)
	f(`display_name = "a"metadata.uid = b`, `want a space, AND or OR`)
	f(`display_name IN x`, `want a list in parentheses`)
	f(`display_name IN ()`, `want a value, not ")"`)
	f(`display_name IN (x`, `want a comma or a closing parenthesis`)
	f(`display_name IN (x,)`, `want a value`)
	f(`display_name IS x`, `want NULL or NaN, not "x"`)
	f(`display_name = (x OR y)`, `want a value, not "("`)
	f(`spec..power = 1`, `want a field or a key`)
	f(`spec. power = 1`, `want a field or a key`)
	f(`cohort(name) = 1`, `column 1: there is no function "cohort"`)
	f(`name = lower("x")`, `there is no function "lower"`)
	f(`displayñame = "ä" x`, `column 1: Robot has no field "displayñame": did you mean display_name?`)
	f(`name = "ä" !`, `column 12: want a field, not "!"`)
	f("name = \"\xff\"", `UTF-8`)
	// Bounds.
	f(strings.Repeat(" ", 8<<10+1), `at most 8192 bytes`)
	f(strings.Repeat("(", 65)+"spec.armed"+strings.Repeat(")", 65), `at most 64 deep`)
	f(strings.Repeat("spec.armed ", 257), `at most 256 comparisons`)
	f("metadata.labels CONTAINS ALL (a"+strings.Repeat(",a", 256)+")", `at most 256 comparisons`)
	f("spec.power IN (1"+strings.Repeat(",1", 1000)+")", `at most 1000 values`)
	f(`name = "`+strings.Repeat("x", 512)+`*"`, `at most 512 bytes`)
}

func TestParse_SecretMapOfAnotherType(t *testing.T) {
	t.Parallel()
	_, err := filter.Parse(typeOf("secrets.sample.selvedge.dev/Secret"), "data.password:*")
	require.ErrorContains(t, err, "data is secret")
}

func TestParse_AtItsBounds(t *testing.T) {
	t.Parallel()
	f := func(text string) {
		t.Helper()
		x, err := filter.Parse(robotType(), text)
		require.NoError(t, err)
		require.True(t, x.Match(robot().ProtoReflect()))
	}
	f(strings.Repeat("(", 64) + "spec.armed" + strings.Repeat(")", 64))
	f(strings.Repeat("spec.armed ", 256))
	f("spec.power IN (2.5" + strings.Repeat(",1", 999) + ")")
}

// SPEC 1.F 46
func TestRegion_OwningBeatsContains(t *testing.T) {
	t.Parallel()
	f := func(text, region string, owning, ok bool) {
		t.Helper()
		x, err := filter.Parse(robotType(), text)
		require.NoError(t, err)
		gotRegion, gotOwning, gotOK := x.Region()
		require.Equal(t, []any{region, owning, ok}, []any{gotRegion, gotOwning, gotOK}, text)
	}
	f(`metadata.syncing.owningRegion = us-west2`, "us-west2", true, true)
	f(`metadata.syncing.owning_region IN (us-west2)`, "us-west2", true, true)
	f(`metadata.syncing.regions CONTAINS eu`, "eu", false, true)
	f(`metadata.syncing.regions:eu`, "eu", false, true)
	f(`metadata.syncing.regions CONTAINS ALL (us, eu)`, "eu", false, true)
	f(`metadata.syncing.regions CONTAINS eu AND spec.armed AND metadata.syncing.owning_region = us`, "us", true, true)
	f(`metadata.syncing.owning_region = us metadata.syncing.regions CONTAINS eu`, "us", true, true)
	f(`metadata.syncing.regions CONTAINS ANY (us, eu)`, "", false, false)
	f(`metadata.syncing.owning_region = us*`, "", false, false)
	f(`metadata.syncing.owning_region != us`, "", false, false)
	f(`metadata.syncing.owning_region = us OR spec.armed`, "", false, false)
	f(`NOT metadata.syncing.owning_region = us`, "", false, false)
	f(`spec.armed`, "", false, false)
	f(``, "", false, false)
}

func TestMatch_NilIsAll(t *testing.T) {
	t.Parallel()
	var x *filter.Filter
	require.True(t, x.Match(robot().ProtoReflect()))
	require.True(t, x.Empty())
	require.Empty(t, x.String())
	require.Empty(t, x.Conjuncts())
	require.True(t, x.Residual(nil).Empty())
}
