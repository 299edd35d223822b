package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/shirou/gopsutil/v4/sensors"

	"selvedge.dev/edgeruntime"
)

// readTemperatures sets the temperature of every sensor that answers. Sensors
// that are there but asleep, as those of a radio that is off, do not answer and
// count as absent.
func readTemperatures(ctx context.Context, r edgeruntime.Reading) error {
	all, err := sensors.TemperaturesWithContext(ctx)
	var asleep *sensors.Warnings
	if err != nil && !errors.As(err, &asleep) {
		return fmt.Errorf("read temperatures: %w", err)
	}
	setTemperatures(r, all)
	return nil
}

// setTemperatures sets the temperatures by sensor.
func setTemperatures(r edgeruntime.Reading, all []sensors.TemperatureStat) {
	seen := newNames()
	for _, t := range all[:min(len(all), maxFamily)] {
		r.Set("temperature/"+seen.element(t.SensorKey)+"/celsius", t.Temperature)
	}
	setOmitted(r, "temperature/omitted", len(all))
}
