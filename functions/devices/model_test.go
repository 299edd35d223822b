package devices_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
)

// model is what the registry of one project must be: the aliases of every
// device in their order.
type model map[string][]string

// holder is the device with the alias, "" for none.
func (m model) holder(alias string) string {
	for name, aliases := range m {
		if slices.Contains(aliases, alias) {
			return name
		}
	}
	return ""
}

// taken are the devices, but not the one of that name, that have one of the
// aliases.
func (m model) taken(name string, aliases []string) (holders []string) {
	for _, a := range aliases {
		if h := m.holder(a); h != "" && h != name {
			holders = append(holders, h)
		}
	}
	return holders
}

// maxRuns bounds the runs, each of which writes to a disk.
const maxRuns = 25

// Whatever is created, changed and deleted: names and aliases find what the
// model has, through the cache and without it, and every refusal is the one
// that the model gives.
func TestRegistry_Model(t *testing.T) {
	t.Parallel()
	w := open(t, file(t), devices.Options{})
	ctx := admin(t)
	pool := []string{"n/k/0", "n/0/k", "n/k/1", "n/1/k", "n/k/2", "n/2/k"}
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		if runs++; runs > maxRuns {
			return
		}
		m := model{}
		all := []string{
			fmt.Sprintf("projects/p%d/devices/d0", runs), fmt.Sprintf("projects/p%d/devices/d1", runs),
			fmt.Sprintf("projects/p%d/regions/local/devices/d0", runs),
		}
		names := rapid.SampledFrom(all)
		sets := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 3, rapid.ID)
		// verdict compares an error with what the model says: the kind, or who
		// has an alias that was asked for.
		verdict := func(want fault.Kind, holders []string, err error) bool {
			if want == fault.Internal && len(holders) == 0 {
				require.NoError(t, err)
				return true
			}
			if len(holders) > 0 {
				var f *fault.Error
				require.ErrorAs(t, err, &f)
				require.Equal(t, "ALREADY_TAKEN", f.Reason)
				require.Contains(t, holders, f.Name)
				return false
			}
			require.Equal(t, want, fault.KindOf(err), "%v", err)
			return false
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				name, aliases := names.Draw(t, "name"), sets.Draw(t, "aliases")
				want, holders := fault.Internal, []string(nil)
				if _, there := m[name]; there {
					want = fault.Exists
				} else {
					holders = m.taken(name, aliases)
				}
				_, err := w.device(ctx, name, aliases...)
				if verdict(want, holders, err) {
					m[name] = aliases
				}
			},
			"update": func(t *rapid.T) {
				name, aliases := names.Draw(t, "name"), sets.Draw(t, "aliases")
				want, holders := fault.Internal, []string(nil)
				if _, there := m[name]; there {
					holders = m.taken(name, aliases)
				} else {
					want = fault.NotFound
				}
				d := &devicesv1.Device{Name: name}
				for _, a := range aliases {
					x, err := devicesv1.ParseAlias(a)
					require.NoError(t, err)
					d.Aliases = append(d.Aliases, x.Alias())
				}
				_, err := call[*devicesv1.Device](ctx, w, "UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: d, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"aliases"}}})
				if verdict(want, holders, err) {
					m[name] = aliases
				}
			},
			"delete": func(t *rapid.T) {
				name := names.Draw(t, "name")
				want := fault.Internal
				if _, there := m[name]; !there {
					want = fault.NotFound
				}
				if verdict(want, nil, w.remove(ctx, name)) {
					delete(m, name)
				}
			},
			"": func(t *rapid.T) { compare(t, w, m, all, pool) },
		})
		compare(t, over(t, w.driver, devices.Options{}), m, all, pool)
	})
}

// compare reads everything that a reader can be asked.
func compare(t *rapid.T, w *world, m model, names, pool []string) {
	ctx := t.Context()
	project := strings.Split(names[0], "/")[1]
	for _, name := range names {
		d, err := w.Device(ctx, name)
		aliases, there := m[name]
		if !there {
			require.Equal(t, fault.NotFound, fault.KindOf(err), "%s: %v", name, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, strings.Join(aliases, " "), textOf(d))
	}
	for _, a := range pool {
		x, err := devicesv1.ParseAlias(a)
		require.NoError(t, err)
		d, err := w.Resolve(ctx, project, x)
		want := m.holder(a)
		if want == "" {
			require.Equal(t, fault.NotFound, fault.KindOf(err), "%s: %v", a, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, d.GetName())
		require.Equal(t, strings.Join(m[want], " "), textOf(d), "an alias must not lead to what the device was")
	}
	require.Subset(t, names, slices.Collect(maps.Keys(m)))
}

// textOf are the aliases of a device.
func textOf(d *devicesv1.Device) string {
	var all []string
	for _, a := range d.GetAliases() {
		all = append(all, a.External().String())
	}
	return strings.Join(all, " ")
}
