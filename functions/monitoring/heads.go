package monitoring

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// heads is how the points of an answer begin, up to their values. The points of
// all aligned series of an answer are at the same times, so that their beginnings,
// which are two thirds of it, are written once and copied.
type heads struct {
	kind          tsdb.MetricKind
	first, period tsdb.Millis
	// text has the beginnings one after the other; the i-th one ends at ends[i].
	text []byte
	ends []uint32
}

// The bounds of heads: of an answer with fewer than headUses points for each, or
// with more windows than fit into the processor's cache, they are not made.
const (
	headUses = 4
	maxHeads = 8192
)

// headsOf are the beginnings of the points of aligned series, nil if there is
// nothing to gain.
func headsOf(all []query.Result) *heads {
	if len(all) < headUses || all[0].Period <= 0 {
		return nil
	}
	h := &heads{kind: all[0].Series.Kind, period: all[0].Period}
	points, last := 0, tsdb.Millis(0)
	for _, r := range all {
		n := r.Points.Len()
		if n == 0 {
			continue
		}
		if points == 0 {
			h.first, last = r.Points.Times[0], r.Points.Times[n-1]
		}
		h.first, last = min(h.first, r.Points.Times[0]), max(last, r.Points.Times[n-1])
		points += n
	}
	n := int64((last-h.first)/h.period) + 1
	if points == 0 || n > maxHeads || n*headUses > int64(points) {
		return nil
	}
	var e encoder
	like := query.Result{Series: &tsdb.Series{Kind: h.kind}, Period: h.period}
	h.text, h.ends = make([]byte, 0, 96*n), make([]uint32, n)
	for i := range h.ends {
		h.text = e.interval(h.text, like, h.first+tsdb.Millis(i)*h.period)
		h.ends[i] = uint32(len(h.text))
	}
	return h
}

// of are the beginnings if those of the points of r are like these, else nil.
func (h *heads) of(r query.Result) *heads {
	if h == nil || r.Period != h.period || r.Series.Kind != h.kind {
		return nil
	}
	return h
}

// at is the beginning of the point at a time, nil if it is none of these.
func (h *heads) at(t tsdb.Millis) []byte {
	if h == nil {
		return nil
	}
	i := int((t - h.first) / h.period)
	if uint(i) >= uint(len(h.ends)) || h.first+tsdb.Millis(i)*h.period != t {
		return nil
	}
	from := uint32(0)
	if i > 0 {
		from = h.ends[i-1]
	}
	return h.text[from:h.ends[i]]
}
