package host

import (
	"context"
	"fmt"
	"strconv"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/load"

	"selvedge.dev/edgeruntime"
)

// minWindow is the shortest time, in seconds, over which utilisation is worth
// reporting: ten ticks of the coarsest usual clock, 100 Hz.
const minWindow = 0.1

// processor is the clock of one logical processor, in seconds since the system
// started.
type processor struct {
	name        string
	busy, total float64
}

// readProcessors sets the utilisation since the last Read, in all and by
// processor. The first Read has nothing to compare with and sets none.
func (s *Sensor) readProcessors(ctx context.Context, r edgeruntime.Reading) error {
	times, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return fmt.Errorf("read processor times: %w", err)
	}
	now := make([]processor, len(times))
	for i, t := range times {
		now[i] = clockOf(t)
	}
	setUtilization(r, s.processors, now)
	s.processors = now
	return nil
}

// clockOf sums the times of one processor. Guest time is not added: systems
// that have it count it as user time already. Waiting for a disk is idling.
func clockOf(t cpu.TimesStat) processor {
	busy := t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
	return processor{name: t.CPU, busy: busy, total: busy + t.Idle + t.Iowait}
}

// setUtilization sets what the processors did between two readings. Processors
// that came or went in between are left out.
func setUtilization(r edgeruntime.Reading, before, now []processor) {
	last := make(map[string]processor, len(before))
	for _, p := range before {
		last[p.name] = p
	}
	var all processor
	for i, p := range now {
		b, ok := last[p.name]
		busy, total := p.busy-b.busy, p.total-b.total
		if !ok || total < minWindow {
			continue
		}
		all.busy += busy
		all.total += total
		if i < maxFamily {
			r.Set("cpu/cores/"+strconv.Itoa(i)+"/utilization", ratio(busy, total))
		}
	}
	if all.total > 0 {
		r.Set("cpu/utilization", ratio(all.busy, all.total))
	}
	r.Set("cpu/count", float64(len(now)))
	setOmitted(r, "cpu/cores_omitted", len(now))
}

// readLoad sets the load averages.
func readLoad(ctx context.Context, r edgeruntime.Reading) error {
	avg, err := load.AvgWithContext(ctx)
	if err != nil {
		return fmt.Errorf("read load: %w", err)
	}
	r.Set("cpu/load_1m", avg.Load1)
	r.Set("cpu/load_5m", avg.Load5)
	r.Set("cpu/load_15m", avg.Load15)
	return nil
}

// ratio is part/whole within 0 and 1. Some counters, iowait above all, step
// back a little, which is no reason to report more than everything.
func ratio(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(max(part/whole, 0), 1)
}

// setOmitted says how many members of a family of n were left out, if any.
func setOmitted(r edgeruntime.Reading, path string, n int) {
	if n > maxFamily {
		r.Set(path, float64(n-maxFamily))
	}
}
