package writer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
)

// known is a registry with devices too.
type known struct {
	*registry
	devices map[string]*devicesv1.Device
}

// Device implements devicesv1.Reader.
func (k *known) Device(_ context.Context, name string) (*devicesv1.Device, error) {
	switch d := k.devices[name]; {
	case k.err != nil:
		return nil, k.err
	case d == nil:
		return nil, &fault.Error{Kind: fault.NotFound, Name: name}
	default:
		return d, nil
	}
}

// How the events of a device are read: by its blueprint's mapping for the type,
// if there are such; and not at all if the device or the blueprint is not there.
func TestPlan(t *testing.T) {
	t.Parallel()
	h := newHarness()
	const blueprint = "projects/p/blueprints/b"
	h.registry.blueprints[blueprint] = &devicesv1.Blueprint{Name: blueprint, Mappings: []*devicesv1.Mapping{{
		EventType: "t", Fields: []*devicesv1.FieldMapping{{Field: "x", MetricType: "m"}},
	}}}
	h.Devices = &known{h.registry, map[string]*devicesv1.Device{"plain": {}, "mapped": {Blueprint: blueprint}, "lost": {Blueprint: "none"}}}
	f := func(device, eventType string, planned bool, reason string) {
		t.Helper()
		plan, err := h.Plan(t.Context(), device, eventType)
		if reason != "" {
			require.Equal(t, reason, fault.ReasonOf(err))
			require.Equal(t, fault.NotFound, fault.KindOf(err))
			return
		}
		require.NoError(t, err)
		require.Equal(t, planned, plan != nil)
	}
	f("plain", "t", false, "")
	f("mapped", "t", true, "")
	f("mapped", "u", false, "")
	f("nobody", "t", false, ReasonUnknownDevice)
	f("lost", "t", false, ReasonUnknownBlueprint)
	h.registry.err = &fault.Error{Kind: fault.Unavailable}
	_, err := h.Plan(t.Context(), "plain", "t")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}
