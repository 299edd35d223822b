package devices

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
)

// model is what the registry of one project must be: the aliases of every
// device in their order.
type model map[string][]devicesv1.Alias

// holder is the device with the alias, "" for none.
func (m model) holder(a devicesv1.Alias) string {
	for name, aliases := range m {
		if slices.Contains(aliases, a) {
			return name
		}
	}
	return ""
}

// taken is the first of aliases that another device than name has.
func (m model) taken(name string, aliases []devicesv1.Alias) (holder string) {
	for _, a := range aliases {
		if h := m.holder(a); h != "" && h != name {
			return h
		}
	}
	return ""
}

// Whatever is created, changed and deleted: names and aliases find what the
// model has, through the cache and without it, and every refusal is the one
// that the model gives.
func TestRegistry_Model(t *testing.T) {
	t.Parallel()
	db := open(t, file(t))
	s := New(db, Options{})
	var pool []devicesv1.Alias
	for i := range 3 {
		pool = append(pool, devicesv1.Alias{Network: "n", Key: "k", Value: fmt.Sprint(i)}, devicesv1.Alias{Network: "n", Key: fmt.Sprint(i), Value: "k"})
	}
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		project := fmt.Sprintf("p%d", runs)
		m := model{}
		names := rapid.Map(rapid.IntRange(0, 2), func(i int) string { return fmt.Sprintf("projects/%s/devices/d%d", project, i) })
		sets := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 3, rapid.ID)
		// verdict compares an error with the kind that the model gives.
		verdict := func(name string, want fault.Kind, holder string, err error) bool {
			if want == fault.Internal && holder == "" {
				require.NoError(t, err)
				return true
			}
			if holder != "" {
				want = fault.Exists
				require.ErrorContains(t, err, holder)
			}
			require.Equal(t, want, fault.KindOf(err), "%s: %v", name, err)
			return false
		}
		edit := func(name string, aliases []devicesv1.Alias) (*devicesv1.Device, error) {
			return s.devices.update(t.Context(), name, func(d *devicesv1.Device) error {
				d.Aliases = aliases
				return nil
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				name, aliases := names.Draw(t, "name"), sets.Draw(t, "aliases")
				want, holder := fault.Internal, ""
				if _, there := m[name]; there {
					want = fault.Exists
				} else {
					holder = m.taken(name, aliases)
				}
				_, err := s.CreateDevice(t.Context(), devicesv1.Device{Name: name, Aliases: aliases})
				if verdict(name, want, holder, err) {
					m[name] = aliases
				}
			},
			"update": func(t *rapid.T) {
				name, aliases := names.Draw(t, "name"), sets.Draw(t, "aliases")
				want, holder := fault.Internal, ""
				if _, there := m[name]; there {
					holder = m.taken(name, aliases)
				} else {
					want = fault.NotFound
				}
				_, err := edit(name, aliases)
				if verdict(name, want, holder, err) {
					m[name] = aliases
				}
			},
			"delete": func(t *rapid.T) {
				name := names.Draw(t, "name")
				want := fault.Internal
				if _, there := m[name]; !there {
					want = fault.NotFound
				}
				if verdict(name, want, "", s.deleteDevice(t.Context(), name)) {
					delete(m, name)
				}
			},
			"": func(t *rapid.T) { compare(t, s, project, m, pool) },
		})
		compare(t, New(db, Options{}), project, m, pool)
	})
}

// compare reads everything that a reader can be asked.
func compare(t *rapid.T, s *Service, project string, m model, pool []devicesv1.Alias) {
	for i := range 3 {
		name := fmt.Sprintf("projects/%s/devices/d%d", project, i)
		d, err := s.Device(t.Context(), name)
		aliases, there := m[name]
		if !there {
			require.Equal(t, fault.NotFound, fault.KindOf(err), "%s: %v", name, err)
			continue
		}
		require.NoError(t, err)
		require.ElementsMatch(t, aliases, d.Aliases)
	}
	for _, a := range pool {
		d, err := s.Resolve(t.Context(), project, a)
		want := m.holder(a)
		if want == "" {
			require.Equal(t, fault.NotFound, fault.KindOf(err), "%s: %v", a, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, d.Name)
		require.ElementsMatch(t, m[want], d.Aliases, "an alias must not lead to what the device was")
	}
	list, err := s.devices.list(t.Context(), project, "", 100)
	require.NoError(t, err)
	var got []string
	for _, d := range list {
		got = append(got, d.Name)
	}
	require.Equal(t, strings.Join(slices.Sorted(maps.Keys(m)), " "), strings.Join(got, " "))
}
