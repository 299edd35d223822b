package scale

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Group is the group of the annotations that set the scale.
const Group = "autoscaling.knative.dev"

// The metrics.
const (
	Concurrency = "concurrency"
	RPS         = "rps"
)

// class is the only class of autoscalers here.
const class = "kpa.autoscaling.knative.dev"

// The bounds of a window, and of every other time.
const (
	minWindow = 6 * time.Second
	maxWindow = time.Hour
)

// minTarget is the least target that makes sense of a percentage.
const minTarget = 0.01

// Settings are those of one revision.
type Settings struct {
	// Metric is Concurrency or RPS.
	Metric string
	// Target is how much of the metric one instance may have, and Utilization
	// which percentage of it is aimed at.
	Target, Utilization float64
	// Min, Max, Initial and Activation bound the instances: Max is 0 for no
	// bound, Initial is for a revision that is not ready yet, Activation is the
	// least when there are any.
	Min, Max, Initial, Activation int
	// Window is the stable window; the panic window and the threshold that a
	// burst is known by are percentages.
	Window                      time.Duration
	PanicWindow, PanicThreshold float64
	// ScaleDownDelay is how long less must be wanted before instances go.
	ScaleDownDelay time.Duration
	// Grace and Retention are how long the last instance stays after the stable
	// window.
	Grace, Retention time.Duration
	// UpRate and DownRate bound how fast it grows and shrinks.
	UpRate, DownRate float64
}

// Defaults are the settings without annotations; those of Knative, but for what
// docs/serving.md lists.
type Defaults struct {
	// Window is 60 s when 0.
	Window time.Duration
	// Grace is 0: requests come through this process anyhow, so that nothing
	// has to be switched over before the last instance goes.
	Grace time.Duration
	// Max is how many instances a revision has at most that does not say; 10
	// when 0: they share one machine.
	Max int
}

// The defaults of Knative's config-autoscaler.
const (
	defaultWindow         = time.Minute
	defaultMax            = 10
	defaultConcurrency    = 100
	defaultRPS            = 200
	defaultUtilization    = 70
	defaultPanicWindow    = 10
	defaultPanicThreshold = 200
	defaultUpRate         = 1000
	defaultDownRate       = 2
)

// Problem is an annotation that is wrong.
type Problem struct {
	// Key is the annotation's key.
	Key string
	// Message says what is wrong, in Knative's words.
	Message string
}

// perInstance is how much of the metric is aimed at for one instance.
func (s Settings) perInstance() float64 {
	return math.Max(minTarget, s.Target*s.Utilization/100)
}

// Parse reads the annotations of a revision whose instances take at most
// containerConcurrency requests at once, 0 for any number. What is wrong has
// its default in the settings and is among the problems.
func Parse(annotations map[string]string, containerConcurrency int64, d Defaults) (Settings, []Problem) {
	p := &parser{annotations: annotations}
	s := Settings{
		Metric: Concurrency, Initial: 1, Max: cmp.Or(d.Max, defaultMax), Window: cmp.Or(d.Window, defaultWindow), Grace: d.Grace,
		Utilization: defaultUtilization, PanicWindow: defaultPanicWindow, PanicThreshold: defaultPanicThreshold,
		UpRate: defaultUpRate, DownRate: defaultDownRate,
	}
	if key, v, ok := p.get("class"); ok && v != class {
		p.add(key, "invalid value: %s", v)
	}
	if key, v, ok := p.get("metric"); ok {
		if v != Concurrency && v != RPS {
			p.add(key, "invalid value: %s", v)
		} else {
			s.Metric = v
		}
	}
	s.Target = defaultConcurrency
	if s.Metric == RPS {
		s.Target = defaultRPS
	} else if containerConcurrency > 0 {
		s.Target = float64(containerConcurrency)
	}
	p.float("target", minTarget, math.MaxFloat64, &s.Target)
	if s.Metric == Concurrency && containerConcurrency > 0 {
		s.Target = math.Min(s.Target, float64(containerConcurrency))
	}
	p.float("target-utilization-percentage", 1, 100, &s.Utilization)
	p.float("panic-window-percentage", 1, 100, &s.PanicWindow)
	p.float("panic-threshold-percentage", 110, 1000, &s.PanicThreshold)
	p.burst()
	p.counts(&s)
	p.duration("window", minWindow, true, &s.Window)
	p.duration("scale-down-delay", 0, true, &s.ScaleDownDelay)
	p.duration("scale-to-zero-pod-retention-period", 0, false, &s.Retention)
	if key, v, ok := p.get("metric-aggregation-algorithm"); ok && v != "" && v != "linear" {
		p.add(key, "invalid value: %s", v)
	}
	return s, p.problems
}

// parser reads annotations and collects what is wrong.
type parser struct {
	annotations map[string]string
	problems    []Problem
}

// add notes a problem.
func (p *parser) add(key, format string, args ...any) {
	p.problems = append(p.problems, Problem{key, fmt.Sprintf(format, args...)})
}

// get is an annotation, by its name or by that of earlier Knatives, minScale for
// min-scale.
func (p *parser) get(name string) (key, value string, ok bool) {
	key = Group + "/" + name
	if value, ok = p.annotations[key]; ok {
		return key, value, true
	}
	words := strings.Split(name, "-")
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	old := Group + "/" + strings.Join(words, "")
	if value, ok = p.annotations[old]; ok {
		return old, value, true
	}
	return key, "", false
}

// float reads a number within bounds.
func (p *parser) float(name string, least, most float64, into *float64) {
	key, v, ok := p.get(name)
	if !ok {
		return
	}
	switch f, err := strconv.ParseFloat(v, 64); {
	case err != nil, math.IsNaN(f), math.IsInf(f, 0):
		p.add(key, "invalid value: %s", v)
	case f < least && most == math.MaxFloat64:
		p.add(key, "target %s should be at least %g", v, least)
	case f < least, f > most:
		p.add(key, "expected %g <= %s <= %g", least, v, most)
	default:
		*into = f
	}
}

// burst checks the target burst capacity, which has no effect: requests always
// come through this process, which holds what is too much.
func (p *parser) burst() {
	if key, v, ok := p.get("target-burst-capacity"); ok {
		if f, err := strconv.ParseFloat(v, 64); err != nil || (f < 0 && f != -1) {
			p.add(key, "invalid value: %s", v)
		}
	}
}

// int reads a count.
func (p *parser) int(name string, into *int) (string, bool) {
	key, v, ok := p.get(name)
	if !ok {
		return key, false
	}
	switch n, err := strconv.ParseInt(v, 10, 32); {
	case err != nil:
		p.add(key, "invalid value: %s", v)
	case n < 0:
		p.add(key, "expected 0 <= %s <= %d", v, math.MaxInt32)
	default:
		*into = int(n)
		return key, true
	}
	return key, false
}

// counts reads the bounds of the instances. A minimum above the maximum that
// nobody set raises it.
func (p *parser) counts(s *Settings) {
	lowest, highest := 0, s.Max
	p.int("min-scale", &lowest)
	maxKey, hasMax := p.int("max-scale", &highest)
	if hasMax && highest != 0 && highest < lowest {
		p.add(maxKey, "max-scale=%d is less than min-scale=%d", highest, lowest)
		highest = lowest
	}
	if !hasMax {
		highest = max(highest, lowest)
	}
	s.Min, s.Max = lowest, highest
	if key, ok := p.int("initial-scale", &s.Initial); ok && s.Initial == 0 {
		p.add(key, "initial-scale=0 not allowed by cluster")
	}
	s.Initial = max(1, s.Initial)
	activation := 0
	key, ok := p.int("activation-scale", &activation)
	switch {
	case !ok:
		return
	case lowest > activation:
		p.add(key, "min-scale=%d is greater than activation-scale=%d", lowest, activation)
	case hasMax && highest != 0 && highest < activation:
		p.add(key, "max-scale=%d is less than activation-scale=%d", highest, activation)
	case activation < 2:
		p.add(key, "activation-scale=%d must be greater than 1", activation)
	default:
		s.Activation = activation
	}
}

// duration reads a time within bounds, of whole seconds if it must be.
func (p *parser) duration(name string, least time.Duration, seconds bool, into *time.Duration) {
	key, v, ok := p.get(name)
	if !ok {
		return
	}
	switch d, err := time.ParseDuration(v); {
	case err != nil:
		p.add(key, "invalid value: %s", v)
	case d < least, d > maxWindow:
		p.add(key, "expected %s <= %s <= %s", least, v, maxWindow)
	case seconds && d.Truncate(time.Second) != d:
		p.add(key, "must be specified with at most second precision")
	default:
		*into = d
	}
}
