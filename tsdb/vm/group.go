package vm

import "selvedge.dev/tsdb"

// The bounds of a grouper.
const (
	// maxGrouped is how many samples are grouped at most: larger batches are
	// rare, and their copy would take megabytes.
	maxGrouped = 1 << 16
	// maxGroups bounds the series of a batch that is grouped, unless there are
	// at least groupGain samples of each.
	maxGroups = 1024
	// groupGain is how many samples a series must have for a group to pay.
	groupGain = 2
)

// grouper puts the samples of one series beside each other. What comes in lines
// or events has the readings of one time beside each other, and what is done once
// for neighbours of one series (its name, its bounds, its number in the engine's
// index) would be done for each of them, which takes a third of all.
//
// The zero value is ready. What it returns is valid until its next use.
type grouper struct {
	// series are the groups in the order of their first samples, behind a nil;
	// next is the group that came after a group last, which nearly always comes
	// after it again.
	series []*tsdb.Series
	next   []int32
	// ends counts the samples of a group, and then is where they end.
	ends []int32
	// of is the group of each sample.
	of     []int32
	places map[*tsdb.Series]int32
	sorted []tsdb.Sample
}

// group returns the samples, those of a series beside each other in their
// order, or as they are if that does not pay.
func (g *grouper) group(samples []tsdb.Sample) []tsdb.Sample {
	if len(samples) < groupGain || len(samples) > maxGrouped {
		return samples
	}
	defer g.forget()
	if !g.place(samples) {
		return samples
	}
	end := int32(0)
	for i, n := range g.ends {
		g.ends[i] = end
		end += n
	}
	g.sorted = append(g.sorted[:0], samples...)
	for i, group := range g.of {
		g.sorted[g.ends[group]] = samples[i]
		g.ends[group]++
	}
	return g.sorted
}

// place finds the group of each sample, and says whether there are few enough.
func (g *grouper) place(samples []tsdb.Sample) bool {
	if g.places == nil {
		g.places = map[*tsdb.Series]int32{}
	}
	g.series, g.next, g.ends, g.of = append(g.series[:0], nil), append(g.next[:0], 0), append(g.ends[:0], 0), g.of[:0]
	last := int32(0)
	for i := range samples {
		s := samples[i].Series
		at := last
		if g.series[at] != s {
			at = g.next[last]
		}
		if g.series[at] != s {
			known := false
			if at, known = g.places[s]; !known {
				at = int32(len(g.series))
				if at > maxGroups && i < groupGain*int(at) {
					return false
				}
				g.places[s] = at
				g.series, g.next, g.ends = append(g.series, s), append(g.next, 0), append(g.ends, 0)
			}
			g.next[last] = at
		}
		g.ends[at]++
		g.of = append(g.of, at)
		last = at
	}
	return groupGain*(len(g.series)-1) <= len(samples)
}

// forget lets go of the series.
func (g *grouper) forget() {
	clear(g.series)
	clear(g.places)
}
