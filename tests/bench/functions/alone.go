package main

import (
	"context"
	"errors"
	"syscall"
)

// alone has a part of the measurements be done while the processes of the others are
// stopped, and lets them go on after it: what a platform does while nobody asks it is
// its own cost, and not that of who is measured beside it.
func (t *target) alone(part func(context.Context, *figures, int) error) func(context.Context, *figures, int) error {
	return func(ctx context.Context, f *figures, round int) error {
		if t.beside {
			return part(ctx, f, round)
		}
		var stopped []int
		for _, other := range f.targets {
			if other == t {
				continue
			}
			pids, err := pidsOf(other.mine)
			if err != nil {
				return err
			}
			stopped = append(stopped, pids...)
		}
		err := deliver(stopped, syscall.SIGSTOP)
		if err == nil {
			err = part(ctx, f, round)
		}
		return errors.Join(err, deliver(stopped, syscall.SIGCONT))
	}
}

// deliver sends a signal to processes, of which some may have ended.
func deliver(pids []int, s syscall.Signal) (err error) {
	for _, pid := range pids {
		if e := syscall.Kill(pid, s); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	return err
}
