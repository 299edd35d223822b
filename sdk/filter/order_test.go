package filter_test

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

func TestParseOrder_Canonical(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		o, err := filter.ParseOrder(robotType(), text)
		require.NoError(t, err)
		require.Equal(t, want, o.String())
		again, err := filter.ParseOrder(robotType(), o.String())
		require.NoError(t, err)
		require.Equal(t, o, again)
	}
	f("", "name")
	f("  ", "name")
	f("name", "name")
	f("name desc", "name desc")
	f("spec.power", "spec.power, name")
	f(" spec.power  desc ,metadata.createTime", "spec.power desc, metadata.create_time, name")
	f("spec.power ASC,name DESC", "spec.power, name desc")
	f("`spec`.power", "spec.power, name")
}

func TestParseOrder_Refuses(t *testing.T) {
	t.Parallel()
	f := func(text, message string) {
		t.Helper()
		_, err := filter.ParseOrder(robotType(), text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{"order_by", "INVALID_ORDER_BY"}, []string{e.Field, e.Reason})
		require.Contains(t, e.Message(), message)
		require.Less(t, len(e.Message()), 600)
	}
	f("display_name", `there is no order by "display_name": there is by name, metadata.create_time, `)
	f("metadata.tags", `there is no order by "metadata.tags"`)
	f("metadata.labels.color", `there is no order by`)
	f("spec.parts.serial", `there is no order by`)
	f("spec.pin", `there is no order by`)
	f("nothing", `there is no order by "nothing"`)
	f("spec.power,", `a field is missing`)
	f(",", `a field is missing`)
	f("spec.power down", `after "spec.power" comes desc or a comma, not "down"`)
	f("spec.power desc name", `want a comma after "spec.power desc"`)
	f("spec.power, spec.power desc", `"spec.power" adds nothing`)
	f("name, spec.power", `"spec.power" adds nothing`)
	f("name, name", `adds nothing`)
	f(strings.Repeat(" ", 2000)+"name", `at most 1024 bytes`)
}

// The order of objects is that of their keys, names last, and what is not set
// comes first.
func TestOrder_CompareAgreesWithKey(t *testing.T) {
	t.Parallel()
	r := robotType()
	rapid.Check(t, func(t *rapid.T) {
		paths := rapid.SliceOfNDistinct(rapid.SampledFrom(filter.Orderable(r)), 0, 3, rapid.ID).Draw(t, "paths")
		slices.SortStableFunc(paths, func(a, b string) int { // names can only be last
			return cmp.Compare(strings.Count(b, "."), strings.Count(a, "."))
		})
		for i := range paths {
			paths[i] += rapid.SampledFrom([]string{"", " desc"}).Draw(t, "desc")
		}
		o, err := filter.ParseOrder(r, strings.Join(paths, ","))
		require.NoError(t, err)
		a, b := objects(t), objects(t)
		left, right := o.Key(a.ProtoReflect()), o.Key(b.ProtoReflect())
		want := 0
		for i, k := range o.Keys {
			c := bytes.Compare(left[i], right[i])
			if k.Desc {
				c = -c
			}
			want = cmp.Or(want, c)
			require.Contains(t, filter.Entries(r, a.ProtoReflect()), filter.Entry{Index: k.Index, Value: left[i]})
		}
		names := cmp.Compare(a.Name, b.Name)
		if o.NameDesc {
			names = -names
		}
		want = cmp.Or(want, names)
		require.Equal(t, want, o.Compare(a.ProtoReflect(), b.ProtoReflect()), "%s", o)
		require.Equal(t, -want, o.Compare(b.ProtoReflect(), a.ProtoReflect()), "%s", o)
	})
}

func TestOrder_SortsNumbers(t *testing.T) {
	t.Parallel()
	o, err := filter.ParseOrder(robotType(), "spec.power desc, name")
	require.NoError(t, err)
	var all []protoreflect.Message
	for name, power := range map[string]float64{"a": -1, "b": 10, "c": 9, "d": 10} {
		all = append(all, (&samplev1.Robot{Name: name, Spec: &samplev1.RobotSpec{Power: power}}).ProtoReflect())
	}
	all = append(all, (&samplev1.Robot{Name: "e"}).ProtoReflect())
	slices.SortFunc(all, o.Compare)
	var names string
	for _, m := range all {
		names += m.Interface().(*samplev1.Robot).GetName()
	}
	require.Equal(t, "bdcae", names)
}
