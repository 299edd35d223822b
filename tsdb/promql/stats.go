package promql

import (
	"math"
	"slices"
)

// kahan adds v to a sum with a compensation (Neumaier's variant), as Prometheus
// does.
func kahan(v, total, c float64) (newTotal, newC float64) {
	t := total + v
	switch {
	case math.IsInf(t, 0):
		c = 0
	case math.Abs(total) >= math.Abs(v):
		c += (total - t) + v
	default:
		c += (v - t) + total
	}
	return t, c
}

// sum is the sum of values.
func sum(values []float64) float64 {
	total, c := 0.0, 0.0
	for _, v := range values {
		total, c = kahan(v, total, c)
	}
	if math.IsInf(total, 0) {
		return total
	}
	return total + c
}

// mean is the average: of the sum, and from where that would overflow on, of the
// mean of those before.
func mean(values []float64) float64 {
	total, c := values[0], 0.0
	for i, v := range values[1:] {
		next, nextC := kahan(v, total, c)
		if math.IsInf(next, 0) {
			n := float64(i + 1)
			return meanFrom(values[i+1:], total/n, c/n, n)
		}
		total, c = next, nextC
	}
	n := float64(len(values))
	return total/n + c/n
}

// meanFrom is the average of values, and of n others of the mean m with the
// compensation c.
func meanFrom(values []float64, m, c, n float64) float64 {
	for _, v := range values {
		n++
		q := (n - 1) / n
		m, c = kahan(v/n, q*m, q*c)
	}
	return m + c
}

// variance is the population variance (Welford's method).
func variance(values []float64) float64 {
	count, m, cm, aux, caux := 0.0, 0.0, 0.0, 0.0, 0.0
	for _, v := range values {
		count++
		delta := v - (m + cm)
		m, cm = kahan(delta/count, m, cm)
		aux, caux = kahan(delta*(v-(m+cm)), aux, caux)
	}
	return (aux + caux) / count
}

// spread is the population variance of the series of a group, for which
// Prometheus does not compensate.
func spread(values []float64) float64 {
	m, squares := values[0], 0.0
	if math.IsInf(m, 0) || math.IsNaN(m) {
		return math.NaN()
	}
	for i, v := range values[1:] {
		delta := v - m
		m += delta / float64(i+2)
		squares += delta * (v - m)
	}
	return squares / float64(len(values))
}

// minOf is the least value, NaN only if there is nothing else.
func minOf(values []float64) float64 {
	m := values[0]
	for _, v := range values {
		if v < m || math.IsNaN(m) {
			m = v
		}
	}
	return m
}

// maxOf is the greatest value, NaN only if there is nothing else.
func maxOf(values []float64) float64 {
	m := values[0]
	for _, v := range values {
		if v > m || math.IsNaN(m) {
			m = v
		}
	}
	return m
}

// quantile is the q-quantile by linear interpolation; it sorts values, NaN
// first.
func quantile(q float64, values []float64) float64 {
	switch {
	case len(values) == 0 || math.IsNaN(q):
		return math.NaN()
	case q < 0:
		return math.Inf(-1)
	case q > 1:
		return math.Inf(1)
	}
	slices.Sort(values)
	n := float64(len(values))
	rank := q * (n - 1)
	low := math.Max(0, math.Floor(rank))
	high := math.Min(n-1, low+1)
	weight := rank - math.Floor(rank)
	if weight == 0 {
		return values[int(low)] // and not NaN when the next one is infinite
	}
	return values[int(low)]*(1-weight) + values[int(high)]*weight
}

// regression is the line through the samples by least squares: its slope per
// second, and its value at the time at.
func regression(times []int64, values []float64, at int64) (slope, intercept float64) {
	n, sx, cx, sy, cy, sxy, cxy, sx2, cx2 := 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
	constant := true
	for i, v := range values {
		if constant && v != values[0] {
			constant = false
		}
		n++
		x := float64(times[i]-at) / 1000
		sx, cx = kahan(x, sx, cx)
		sy, cy = kahan(v, sy, cy)
		sxy, cxy = kahan(x*v, sxy, cxy)
		sx2, cx2 = kahan(x*x, sx2, cx2)
	}
	if constant {
		if math.IsInf(values[0], 0) {
			return math.NaN(), math.NaN()
		}
		return 0, values[0]
	}
	sx, sy, sxy, sx2 = sx+cx, sy+cy, sxy+cxy, sx2+cx2
	slope = (sxy - sx*sy/n) / (sx2 - sx*sx/n)
	return slope, sy/n - slope*sx/n
}
