// Package host reads the figures of the machine that the process runs on:
// processors, memory, disks, network interfaces and temperatures. It is the
// [edgeruntime.Sensor] of real devices, and the only package of the edge
// runtime that knows the operating system.
//
// Every figure that grows for ever (bytes, packets, errors) is the system's own
// counter since it started, so a lost reading loses no traffic. Ratios are 0 to
// 1. What a machine does not have is left out; what it has and does not let
// itself be read is an error beside all other figures. A machine with very many
// disks or interfaces is read up to maxFamily of each, and the rest is counted.
package host

import (
	"context"
	"errors"

	"selvedge.dev/edgeruntime"
)

// Sensor reads this machine. It is for one caller at a time, since utilisation
// is measured from one Read to the next.
type Sensor struct {
	// processors are the clocks of the processors at the last Read.
	processors []processor
}

var _ edgeruntime.Sensor = (*Sensor)(nil)

// New is a sensor for this machine.
func New() *Sensor { return &Sensor{} }

// Read sets the figures of every family.
func (s *Sensor) Read(ctx context.Context, r edgeruntime.Reading) error {
	return errors.Join(
		s.readProcessors(ctx, r),
		readLoad(ctx, r),
		readMemory(ctx, r),
		readDisks(ctx, r),
		readNetwork(ctx, r),
		readTemperatures(ctx, r),
	)
}
