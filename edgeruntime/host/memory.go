package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/shirou/gopsutil/v4/mem"

	"selvedge.dev/edgeruntime"
)

// readMemory sets main memory and swap. Used is what is not available, so that
// caches, which the system gives back when asked, do not count as used.
func readMemory(ctx context.Context, r edgeruntime.Reading) error {
	var errs []error
	if m, err := mem.VirtualMemoryWithContext(ctx); err != nil {
		errs = append(errs, fmt.Errorf("read memory: %w", err))
	} else {
		setSpace(r, "memory", m.Total-min(m.Available, m.Total), m.Available)
		r.Set("memory/total_bytes", float64(m.Total))
		r.Set("memory/available_bytes", float64(m.Available))
	}
	if s, err := mem.SwapMemoryWithContext(ctx); err != nil {
		errs = append(errs, fmt.Errorf("read swap: %w", err))
	} else if s.Total > 0 {
		setSpace(r, "memory/swap", s.Used, s.Total-min(s.Used, s.Total))
		r.Set("memory/swap/total_bytes", float64(s.Total))
	}
	return errors.Join(errs...)
}

// setSpace sets how full something is that fills up.
func setSpace(r edgeruntime.Reading, path string, used, free uint64) {
	r.Set(path+"/used_bytes", float64(used))
	r.Set(path+"/used_ratio", ratio(float64(used), float64(used)+float64(free)))
}
