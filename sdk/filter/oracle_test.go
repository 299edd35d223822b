package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/filter"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// declarations are the fields of a robot for the other implementation of the
// language, which agrees with this one where both speak it.
func declarations(t require.TestingT) *filtering.Declarations {
	d, err := filtering.NewDeclarations(
		filtering.DeclareStandardFunctions(),
		filtering.DeclareFunction(filtering.FunctionFuzzyAnd,
			filtering.NewFunctionOverload(filtering.FunctionFuzzyAnd+"_bool", filtering.TypeBool, filtering.TypeBool, filtering.TypeBool)),
		filtering.DeclareIdent("true", filtering.TypeBool), filtering.DeclareIdent("false", filtering.TypeBool),
		filtering.DeclareIdent("name", filtering.TypeString), filtering.DeclareIdent("display_name", filtering.TypeString),
		filtering.DeclareIdent("spec.power", filtering.TypeFloat), filtering.DeclareIdent("spec.armed", filtering.TypeBool),
		filtering.DeclareIdent("spec.uptime_goal", filtering.TypeDuration),
		filtering.DeclareIdent("metadata.generation", filtering.TypeInt),
		filtering.DeclareIdent("metadata.create_time", filtering.TypeTimestamp),
		filtering.DeclareIdent("metadata.tags", filtering.TypeList(filtering.TypeString)),
		filtering.DeclareIdent("metadata.labels", filtering.TypeMap(filtering.TypeString, filtering.TypeString)),
		filtering.DeclareEnumIdent("state.phase", samplev1.RobotState_PHASE_UNSPECIFIED.Type()),
	)
	require.NoError(t, err)
	return d
}

// oracle evaluates the other implementation's expression on a robot of which
// everything is set.
type oracle struct{ m *samplev1.Robot }

// value is what an operand is: a bool, text, number, time, list or map; nil is a
// key that the map has not.
func (o oracle) value(e *expr.Expr) any {
	switch k := e.GetExprKind().(type) {
	case *expr.Expr_ConstExpr:
		switch c := k.ConstExpr.GetConstantKind().(type) {
		case *expr.Constant_StringValue:
			return c.StringValue
		case *expr.Constant_Int64Value:
			return float64(c.Int64Value)
		case *expr.Constant_DoubleValue:
			return c.DoubleValue
		}
	case *expr.Expr_CallExpr:
		arg := k.CallExpr.GetArgs()[0].GetConstExpr().GetStringValue()
		if k.CallExpr.GetFunction() == "duration" {
			d, err := time.ParseDuration(arg)
			if err != nil {
				panic(err)
			}
			return float64(d)
		}
		return o.time(arg)
	case *expr.Expr_SelectExpr:
		return o.field(k.SelectExpr.GetOperand().GetIdentExpr().GetName()+"."+k.SelectExpr.GetField(), e)
	case *expr.Expr_IdentExpr:
		return o.field(k.IdentExpr.GetName(), e)
	}
	panic("BUG: " + e.String())
}

// time is a time as a number.
func (o oracle) time(s string) float64 {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return float64(at.Unix())
}

// field reads a field.
func (o oracle) field(path string, e *expr.Expr) any {
	if labels := e.GetSelectExpr().GetOperand().GetSelectExpr(); labels.GetField() == "labels" {
		if v, ok := o.m.Metadata.Labels[e.GetSelectExpr().GetField()]; ok {
			return v
		}
		return nil
	}
	switch path {
	case "name":
		return o.m.Name
	case "display_name":
		return o.m.DisplayName
	case "spec.power":
		return o.m.Spec.Power
	case "spec.armed":
		return o.m.Spec.Armed
	case "spec.uptime_goal":
		return float64(o.m.Spec.UptimeGoal.AsDuration())
	case "metadata.generation":
		return float64(o.m.Metadata.Generation)
	case "metadata.create_time":
		return float64(o.m.Metadata.CreateTime.GetSeconds())
	case "metadata.tags":
		return o.m.Metadata.Tags
	case "metadata.labels":
		return o.m.Metadata.Labels
	case "state.phase":
		return o.m.State.Phase.String()
	case "true":
		return true
	case "false":
		return false
	}
	return path // the name of an enum's value
}

// match evaluates an expression.
func (o oracle) match(e *expr.Expr) bool {
	call := e.GetCallExpr()
	if call == nil {
		return o.value(e) == true
	}
	args := call.GetArgs()
	switch call.GetFunction() {
	case "AND", "FUZZY":
		return o.match(args[0]) && o.match(args[1])
	case "OR":
		return o.match(args[0]) || o.match(args[1])
	case "NOT":
		return !o.match(args[0])
	}
	left, right := o.value(args[0]), o.value(args[1])
	switch left := left.(type) {
	case nil:
		return false
	case []string:
		return strings.Contains("\n"+strings.Join(left, "\n")+"\n", "\n"+right.(string)+"\n")
	case map[string]string:
		_, ok := left[right.(string)]
		return ok
	case bool:
		return (left == right) == (call.GetFunction() == "=")
	case string:
		return decide(call.GetFunction(), strings.Compare(left, right.(string)))
	case float64:
		if s, ok := right.(string); ok {
			right = o.time(s)
		}
		switch right := right.(float64); {
		case left < right:
			return decide(call.GetFunction(), -1)
		case left > right:
			return decide(call.GetFunction(), 1)
		}
		return decide(call.GetFunction(), 0)
	}
	panic("BUG: " + e.String())
}

// decide is what a comparison says about an order.
func decide(function string, c int) bool {
	return map[string]bool{"=": c == 0, ":": c == 0, "!=": c != 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[function]
}

// rightLiterals are literals for fields.
var rightLiterals = map[string][]string{
	"name": {`"a"`, "'b'", `"a\"\\\u00e4"`, `""`}, "display_name": {`"a"`, "'b'"}, "metadata.labels.k": {`'a'`, `"l"`},
	"spec.power": {"1", "-2.5", "0"}, "metadata.generation": {"-1", "3"}, "spec.uptime_goal": {`duration("1s")`, `duration("-1.5s")`},
	"metadata.create_time": {`"2000-01-01T00:00:00Z"`, `timestamp("2000-01-01T01:00:00+01:00")`},
}

// plain are random filters of the language that both implementations speak, or
// nearly: some are wrong, for the same reason. Left out is what the other one
// takes and google.aip.dev/160 does not: a literal on the left.
func plain(t *rapid.T, depth int) string {
	var parts []string
	for range rapid.IntRange(1, 4).Draw(t, "parts") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "group") == 0 {
			parts = append(parts, rapid.SampledFrom([]string{"", "", "NOT ", "-"}).Draw(t, "not")+"("+plain(t, depth-1)+")")
			continue
		}
		fields := []string{
			"name", "display_name", "spec.power", "metadata.generation", "metadata.labels.k", "metadata.create_time", "spec.uptime_goal", "spec.armed",
			"metadata.tags", "metadata.labels", "state.phase", "nothing", "spec.nothing",
		}
		right := rapid.IntRange(0, 9).Draw(t, "right") > 0 // most are, or hardly a filter would parse
		if right {
			fields = fields[:len(fields)-2]
		}
		field := rapid.SampledFrom(fields).Draw(t, "field")
		var sign, text string
		switch field {
		case "metadata.tags", "metadata.labels":
			sign, text = ":", rapid.SampledFrom([]string{"k", "l", `"k"`, `'l'`}).Draw(t, "key")
		case "spec.armed":
			sign, text = rapid.SampledFrom([]string{" = ", "!=", "<"}).Draw(t, "sign"), rapid.SampledFrom([]string{"true", "false", "1", `"true"`, "1.5"}).Draw(t, "bool")
			if rapid.Bool().Draw(t, "bare") {
				sign, text = "", ""
			}
		case "state.phase":
			sign, text = rapid.SampledFrom([]string{"=", " != ", " < "}).Draw(t, "sign"), rapid.SampledFrom([]string{"IDLE", "BUSY", "idle", "1.5"}).Draw(t, "phase")
		default:
			sign = rapid.SampledFrom([]string{"=", " != ", "<", " <= ", " > ", ">=", " ", " ="}).Draw(t, "sign")
			text = rapid.SampledFrom([]string{
				`"a"`, `'b'`, `"a\"\\\u00e4"`, "1", "-1", "2.5", "-2.5", "0", `"2000-01-01T00:00:00Z"`, `timestamp("2000-01-01T01:00:00+01:00")`,
				`duration("1s")`, `duration("-1.5s")`, `"a`, "(", ")", "AND",
			}).Draw(t, "literal")
			if signs := []string{"=", " != ", "<", " <= ", " > ", ">="}; right {
				sign, text = rapid.SampledFrom(signs).Draw(t, "right sign"), rapid.SampledFrom(rightLiterals[field]).Draw(t, "right literal")
			}
			if isText := field == "name" || field == "display_name" || field == "metadata.labels.k"; isText && strings.Trim(text, "-0123456789.") == "" && text != "" {
				text = `"` + text + `"` // the other one takes no number for text
			}
		}
		parts = append(parts, rapid.SampledFrom([]string{"", "", "", "NOT ", "-"}).Draw(t, "not")+field+sign+text)
	}
	s := parts[0]
	for _, p := range parts[1:] {
		s += rapid.SampledFrom([]string{" AND ", " ", " OR ", " OR "}).Draw(t, "join") + p
	}
	return s
}

// Where the language is that of google.aip.dev/160 alone, another implementation
// of it accepts, refuses and means the same: precedence, negation, literals,
// comparisons and types.
func TestFilter_AgreesWithAnotherImplementation(t *testing.T) {
	t.Parallel()
	r, d := robotType(), declarations(t)
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := plain(t, 2)
		want, wantErr := filtering.ParseFilterString(text, d)
		f, err := filter.Parse(r, text)
		if strings.TrimSpace(text) == "" {
			return
		}
		require.Equal(t, wantErr == nil, err == nil, "%s: %v, %v", text, wantErr, err)
		if err != nil {
			return
		}
		accepted++
		word := rapid.SampledFrom([]string{"a", "b", `a"\ä`, "k", "l"})
		number := rapid.SampledFrom([]float64{0, 1, -1, 2.5, -2.5, 3})
		for range 4 {
			m := &samplev1.Robot{
				Name: word.Draw(t, "name"), DisplayName: word.Draw(t, "display_name"),
				Metadata: &resourcev1.Metadata{
					Generation: int64(number.Draw(t, "generation")), Tags: rapid.SliceOfN(word, 0, 3).Draw(t, "tags"),
					Labels:     rapid.MapOfN(word, word, 0, 3).Draw(t, "labels"),
					CreateTime: &timestamppb.Timestamp{Seconds: rapid.Int64Range(946684799, 946684801).Draw(t, "time")},
				},
				Spec: &samplev1.RobotSpec{
					Power: number.Draw(t, "power"), Armed: rapid.Bool().Draw(t, "armed"),
					UptimeGoal: durationpb.New(time.Duration(rapid.SampledFrom([]int64{0, 1e9, -15e8}).Draw(t, "goal"))),
				},
				State: &samplev1.RobotState{Phase: samplev1.RobotState_Phase(rapid.Int32Range(0, 3).Draw(t, "phase"))},
			}
			require.Equal(t, oracle{m}.match(want.CheckedExpr.GetExpr()), f.Match(m.ProtoReflect()), "%s on %v", text, m)
		}
	})
	require.Positive(t, accepted)
}
