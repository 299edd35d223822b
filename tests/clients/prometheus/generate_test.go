package prometheus

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// The metrics of the random data, of which expressions are made, and the labels
// that they have.
var (
	metrics = []string{
		"requests_total", "temperature", "latency_bucket", "up", `{"com.example.climate/humidity"}`,
		`{"com.example.climate/humidity", job="a"}`, "com_example_climate_humidity", "absent_metric",
	}
	labelNames = []string{"job", "instance", "path", "le", "none"}
)

// one picks one of the texts.
func one(t *rapid.T, texts ...string) string { return rapid.SampledFrom(texts).Draw(t, "one") }

// chance is true n times of ten.
func chance(t *rapid.T, n int) bool { return rapid.IntRange(0, 9).Draw(t, "chance") < n }

// expressions are expressions of any type, as deep as that.
func expressions(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if chance(t, 1) {
			return scalar(t, depth)
		}
		return vector(t, depth)
	})
}

// length is a duration.
func length(t *rapid.T) string {
	return one(t, "1m", "90s", "2m", "5m", "10m", "1h", "17s", "3m1s", "300", "61.5")
}

// selector is a selector without window.
func selector(t *rapid.T) string {
	s := one(t, metrics...)
	if !strings.HasSuffix(s, "}") && chance(t, 5) {
		var m []string
		// One of a label: the order of more decides what absent has, and a storage of
		// Prometheus' changes it.
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(labelNames), 0, 2, rapid.ID).Draw(t, "matchers") {
			m = append(m, name+one(t,
				`="a"`, `="b"`, `!="a"`, `=~"a|c"`, `!~"a.*"`, `=""`, `!=""`, `=~".+"`, `=~""`, `=~"i[12]"`, `!~"i[1-3]"`, "=~`[^x]`", `="+Inf"`, `="0.5"`))
		}
		s += "{" + strings.Join(m, ",") + "}"
	}
	return s
}

// shifted is s, perhaps with an offset or an @. T1400 stands for 1400 seconds after
// the origin of the data.
func shifted(t *rapid.T, s string) string {
	if chance(t, 1) {
		s += " offset " + one(t, "", "-") + length(t)
	}
	if chance(t, 1) {
		s += " @ " + one(t, "start()", "end()", "T1400", "T1600", "T1800.5")
	}
	return s
}

// matrix is a range vector.
func matrix(t *rapid.T, depth int) string {
	if depth > 0 && chance(t, 2) {
		of := vector(t, depth-1)
		if !strings.HasSuffix(of, ")") {
			of = "(" + of + ")"
		}
		of += "[" + one(t, "5m", "10m", "3m") + ":" + one(t, "", "1m", "47s", "30s") + "]"
		if strings.Contains(of, "@") {
			// Prometheus mistakes the time of an @ in a subquery that an offset moves to
			// begin when the query does.
			return of
		}
		return shifted(t, of)
	}
	return shifted(t, selector(t)+"["+length(t)+"]")
}

// scalar is a scalar expression.
func scalar(t *rapid.T, depth int) string {
	if depth <= 0 {
		return one(t, "1", "2.5", "-3", "0", "1e3", "0x10", "5m", "Inf", "NaN", "time()", "pi()", "100")
	}
	switch rapid.IntRange(0, 4).Draw(t, "scalar") {
	case 0:
		return "scalar(" + vector(t, depth-1) + ")"
	case 1:
		return "(" + scalar(t, depth-1) + one(t, " + ", " - ", " * ", " / ", " % ", " ^ ", " atan2 ") + scalar(t, depth-1) + ")"
	case 2:
		return "(" + scalar(t, depth-1) + one(t, " > ", " < ", " == ", " != ", " >= ", " <= ") + "bool " + scalar(t, depth-1) + ")"
	case 3:
		return "-" + scalar(t, depth-1)
	}
	return scalar(t, 0)
}

// The functions by their arguments.
var (
	ofMatrix = []string{
		"rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv", "avg_over_time", "min_over_time", "max_over_time",
		"sum_over_time", "stdvar_over_time", "stddev_over_time", "count_over_time", "present_over_time", "last_over_time", "first_over_time",
		"absent_over_time",
	}
	ofTime   = []string{"minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"}
	ofVector = []string{
		"abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
		"tanh", "asinh", "acosh", "atanh", "deg", "rad", "timestamp", "sort", "sort_desc", "absent", "round", "-", "+", "",
		"histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar",
	}
)

// vector is an instant vector.
func vector(t *rapid.T, depth int) string {
	if depth <= 0 {
		return shifted(t, selector(t))
	}
	f := fmt.Sprintf
	switch rapid.IntRange(0, 11).Draw(t, "vector") {
	case 0, 1:
		return one(t, ofMatrix...) + "(" + matrix(t, depth-1) + ")"
	case 2:
		name, of := one(t, ofVector...), vector(t, depth-1)
		if name == "timestamp" && strings.Contains(of, "@") && strings.Contains(of, "offset") {
			name = "" // Prometheus forgets the offset
		}
		return name + "(" + of + ")"
	case 3:
		return one(t, "quantile_over_time("+scalar(t, 0)+", "+matrix(t, 0)+")", "predict_linear("+matrix(t, depth-1)+", "+scalar(t, 0)+")")
	case 4, 5:
		return aggregate(t, depth)
	case 6, 7:
		return combined(t, depth)
	case 8:
		op := one(t, "+", "-", "*", "/", "%", "^", "atan2", ">", "<", "==", "!=", ">=", "<=", "> bool", "<= bool", "== bool")
		if chance(t, 5) {
			return f("(%s %s %s)", vector(t, depth-1), op, scalar(t, depth-1))
		}
		return f("(%s %s %s)", scalar(t, depth-1), op, vector(t, depth-1))
	case 9:
		return one(t,
			f("clamp(%s, %s, %s)", vector(t, depth-1), scalar(t, 0), scalar(t, 0)), f("clamp_min(%s, %s)", vector(t, depth-1), scalar(t, 0)),
			f("clamp_max(%s, %s)", vector(t, depth-1), scalar(t, 0)), f("round(%s, %s)", vector(t, depth-1), one(t, "0.1", "5", "0.5")),
			f("vector(%s)", scalar(t, depth-1)),
			// Of a time only: what is too large for one has no answer of Prometheus' either.
			f("%s(%s)", one(t, ofTime...), one(t, "", "timestamp(temperature)", "temperature * 1e8", "vector(time())")))
	case 10:
		return one(t,
			f("label_replace(%s, %q, %q, %q, %q)", vector(t, depth-1), one(t, "to", "job", "__name__"), one(t, "$1-x", "", "c", "${1}$2"), one(t, labelNames...), one(t, "(.*)", "(a)|b", ".+", "i(.)")),
			f("label_join(%s, %q, %q, %q, %q)", vector(t, depth-1), one(t, "to", "path"), one(t, "", "/"), one(t, labelNames...), one(t, labelNames...)))
	}
	return one(t,
		f("histogram_quantile(%s, %s)", one(t, "0.5", "0.99", "0", "1", "-1", "2", "NaN", "scalar(up)"), one(t, "latency_bucket", "rate(latency_bucket[5m])", "sum by (le) (rate(latency_bucket[5m]))", vector(t, depth-1))),
		f("histogram_fraction(%s, %s, %s)", one(t, "0", "0.2", "-Inf", "1"), one(t, "0.7", "1", "Inf", "0.1"), one(t, "latency_bucket", "rate(latency_bucket[5m])", "sum without (job) (latency_bucket)")))
}

// finite is a vector without infinities, whose quantiles are NaN in versions of
// Prometheus before 3.16 even if they are no neighbours of an infinity.
func finite(t *rapid.T) string {
	return one(t, shifted(t, selector(t)), "rate("+matrix(t, 0)+")", "avg by (job, instance) (requests_total)")
}

// aggregate is an aggregation.
func aggregate(t *rapid.T, depth int) string {
	by := one(t, "", "", " by (job)", " without (job)", " by (instance, path)", " without (instance, le,)", " by (__name__)", ` by ("job", none)`, " without ()", " by ()")
	op := one(t, "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
	switch rapid.IntRange(0, 7).Draw(t, "aggregate") {
	case 0: // what has no equals, since of those any may be taken
		return one(t, "topk", "bottomk") + by + " (" + one(t, "1", "2", "100", "0", "-1") + ", " + one(t, "temperature", "rate(temperature[5m])", "temperature offset 1m") + ")"
	case 1:
		// Of what is the same at each step: Prometheus takes it for that if the vector is.
		return "quantile" + by + " (" + one(t, "0.5", "0.9", "-1", "2", "NaN", "pi() - 3") + ", " + finite(t) + ")"
	case 2:
		// Of what has no last bit that an order of adding up decides.
		return "count_values" + by + ` ("` + one(t, "v", "job", "__name__") + `", ` + one(t, shifted(t, selector(t)), "changes("+matrix(t, 0)+")", "temperature > 0") + ")"
	case 3:
		return strings.ToUpper(op) + "(" + vector(t, depth-1) + ")" + by
	}
	return op + by + " (" + vector(t, depth-1) + ")"
}

// combined is an operator between two vectors.
func combined(t *rapid.T, depth int) string {
	match := one(t, "", "", "on (job)", "on (job, instance)", "ignoring (path)", "ignoring (job)", "on ()", "ignoring (le, path)", "on (instance)")
	l, r := vector(t, depth-1), vector(t, depth-1)
	if chance(t, 3) {
		return fmt.Sprintf("(%s %s %s %s)", l, one(t, "and", "or", "unless", "OR"), match, r)
	}
	op := one(t, "+", "-", "*", "/", "%", "^", "atan2", ">", "<", "==", "!=", ">=", "<=", "> bool", "== bool", "!= bool")
	if match != "" && chance(t, 5) {
		match += " " + one(t, "group_left", "group_right", "group_left (path)", "group_right (none, le)", "group_left ()")
	}
	if chance(t, 5) { // of what goes together
		l = one(t, "requests_total", "rate(requests_total[5m])", "temperature")
		r = one(t, "sum by (job) (requests_total)", "up", "requests_total offset 1m", "temperature", "sum without (path) (requests_total)")
	}
	return fmt.Sprintf("(%s %s %s %s)", l, op, match, r)
}
