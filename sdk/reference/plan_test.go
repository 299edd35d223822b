package reference_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

// picture is the references of every object: by its name, "path target" each.
type picture map[string][]string

// picture reads all objects of both stores.
func (w *world) picture() picture {
	out := picture{}
	for _, s := range []*site{w.sample, w.secrets} {
		err := s.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
			tx, _ := s.st.TxOf(ctx)
			for _, x := range s.st.Types().Services()[0].Resources {
				x, _ := s.st.Types().Type(x.Type)
				names := map[string]proto.Message{}
				if err := tx.Scan(ctx, store.Scan{Type: x.Type}, collect(names)); err != nil {
					return err
				}
				for n, m := range names {
					out[n] = []string{}
					for _, ref := range x.References {
						for _, v := range ref.Path.Get(m.ProtoReflect()) {
							if v.String() != "" {
								out[n] = append(out[n], ref.Path.String()+" "+v.String())
							}
						}
					}
					for _, o := range x.MetadataOf(m).GetOwnerReferences() {
						out[n] = append(out[n], reference.OwnerPath+" "+o.GetName())
					}
				}
			}
			return nil
		})
		require.NoError(w.t, err)
	}
	return out
}

// after is the picture that a plan leads to.
func (s picture) after(p *resourcev1.DeletionPlan) picture {
	out := maps.Clone(s)
	for _, c := range p.GetConsequences() {
		switch c.GetEffect() {
		case resourcev1.Consequence_DELETED:
			delete(out, c.GetName())
		case resourcev1.Consequence_UNSET, resourcev1.Consequence_DETACHED:
			out[c.GetName()] = slices.DeleteFunc(slices.Clone(out[c.GetName()]), func(ref string) bool { return ref == c.GetPath()+" "+c.GetCause() })
		default:
		}
	}
	return out
}

// disown forgets the owners of one.
func (s picture) disown(name string) {
	s[name] = slices.DeleteFunc(slices.Clone(s[name]), func(ref string) bool { return strings.HasPrefix(ref, reference.OwnerPath) })
}

// graph saves random objects that refer to each other at random.
func (w *world) graph(t *rapid.T) {
	n := rapid.IntRange(1, 4)
	robots, models, orders, secrets := names("r", n.Draw(t, "robots")+2), names("m", n.Draw(t, "models")), names("o", n.Draw(t, "orders")), names("s", n.Draw(t, "secrets"))
	for _, s := range robots {
		w.save(robot(s, nil))
	}
	for _, s := range models {
		w.save(model(s))
	}
	for _, s := range orders {
		w.save(order(s, "", ""))
	}
	for _, s := range secrets {
		w.save(secret(s))
	}
	some := func(label string, one int, list []string, name func(string) string) string {
		if rapid.IntRange(0, one).Draw(t, label) > 0 {
			return ""
		}
		return name(rapid.SampledFrom(list).Draw(t, label+" to"))
	}
	owners := func(self string) []*resourcev1.OwnerReference {
		var out []*resourcev1.OwnerReference
		for _, n := range []string{some("owner robot", 4, robots, robotName), some("owner order", 4, orders, orderName), some("owner secret", 5, secrets, secretName), some("owner model", 5, models, modelName)} {
			if n != "" && n != self {
				out = append(out, owner(n, func(o *resourcev1.OwnerReference) {
					o.RequiresOwnerReference = rapid.IntRange(0, 4).Draw(t, "requires") == 0
				}))
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "unsetting") == 0 {
			for _, o := range out {
				o.UnsetOnDelete = true
			}
		}
		return out
	}
	for _, s := range robots {
		spec := &samplev1.RobotSpec{
			Model: some("model", 3, models, modelName), Leader: some("leader", 2, robots, robotName), Host: some("host", 3, robots, robotName),
			Master: some("master", 3, robots, robotName), Ancestor: some("ancestor", 4, robots, robotName), Secret: some("secret", 4, secrets, secretName),
		}
		for range rapid.IntRange(0, 2).Draw(t, "friends") {
			spec.Friends = append(spec.Friends, robotName(rapid.SampledFrom(robots).Draw(t, "friend")))
		}
		w.save(robot(s, spec, owners(robotName(s))...))
	}
	for _, s := range models {
		w.save(model(s, owners(modelName(s))...))
	}
	for _, s := range orders {
		w.save(order(s, some("order of", 2, models, modelName), some("key", 2, secrets, secretName), owners(orderName(s))...))
	}
	for _, s := range secrets {
		w.save(secret(s, owners(secretName(s))...))
	}
}

// names are n names.
func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

// TestPlan_IsWhatHappens plans and does random deletions in random graphs of
// two services.
func TestPlan_IsWhatHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { planAndDelete(t, newWorld(t)) })
}

// TestPlan_IsWhatHappensOnSQLite does some of that with real databases.
func TestPlan_IsWhatHappensOnSQLite(t *testing.T) {
	t.Parallel()
	outer, left := t, 15
	rapid.Check(t, func(t *rapid.T) {
		if left--; left >= 0 {
			planAndDelete(t, newWorldOn(t, func() store.Driver { return openSQLite(outer) }))
		}
	})
}

// planAndDelete plans one deletion, does it, and compares.
func planAndDelete(t *rapid.T, w *world) {
	strict := rapid.Bool().Draw(t, "strict")
	if strict {
		w.strict()
	}
	w.graph(t)
	w.pass(6 * time.Minute)
	before := w.picture()
	if len(before) == 0 || len(w.sample.ctl.Stats().Waiting)+len(w.secrets.ctl.Stats().Waiting) > 0 {
		return // what was decided before, and waits, is no consequence
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(before))).Draw(t, "delete")
	typ := map[string]proto.Message{"robots": robotType, "models": modelType, "orders": orderType, "secrets": secretType}[resource.Name(name).Collection()]
	p, lines := w.plan(typ, name)
	ordered(t, p)
	err := w.remove(typ, name)
	if p.GetBlocked() {
		require.Equal(t, fault.Precondition, fault.KindOf(err), "%v\n%v", err, lines)
		w.pass(6 * time.Minute)
		require.Equal(t, before, w.picture())
		return
	}
	require.NoError(t, err)
	atOnce := w.picture()
	for _, c := range p.GetConsequences() {
		_, is := atOnce[c.GetName()]
		if c.GetEffect() == resourcev1.Consequence_DELETED && c.GetTiming() != resourcev1.Consequence_AT_ONCE {
			require.True(t, is, "%s went at once", c.GetName())
		}
	}
	w.pass(6 * time.Minute)
	expected, is := before.after(p), w.picture()
	for _, c := range p.GetConsequences() {
		if c.GetEffect() == resourcev1.Consequence_BLOCKS { // it keeps whichever owner goes last
			expected.disown(c.GetCause())
			is.disown(c.GetCause())
		}
	}
	require.Equal(t, expected, is, "%v\nfrom %v\n%v %v", lines, before, w.sample.ctl.Stats().Waiting, w.secrets.ctl.Stats().Waiting)
	w.whole(strict)
}

// ordered checks that causes come before their consequences.
func ordered(t require.TestingT, p *resourcev1.DeletionPlan) {
	seen := map[string]bool{"": true}
	for _, c := range p.GetConsequences() {
		if c.GetEffect() != resourcev1.Consequence_BLOCKS {
			require.True(t, seen[c.GetCause()], "%v", c)
		}
		seen[c.GetName()] = true
	}
}

// whole checks that no reference that may not dangle does.
func (w *world) whole(strict bool) {
	s := w.picture()
	for name, refs := range s {
		for _, ref := range refs {
			var path, to string
			_, err := fmt.Sscan(ref, &path, &to)
			require.NoError(w.t, err)
			if (strict || path != "spec.ancestor") && path != reference.OwnerPath { // an ownee that is held back keeps its last
				require.Contains(w.t, s, to, "%s refers to it by %s", name, path)
			}
		}
	}
}
