package watch_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// single watches a robot.
func (w *world) single(id string, visible watch.Visible, mask ...string) *tap[*samplev1.WatchRobotResponse] {
	req := &samplev1.WatchRobotRequest{Name: name(id)}
	if mask != nil {
		req.ReadMask = &fieldmaskpb.FieldMask{Paths: mask}
	}
	return open[*samplev1.WatchRobotResponse](w, w.one, req, visible)
}

// told are responses as texts: "current 1", "changed 2", "removed".
func told(responses []*samplev1.WatchRobotResponse) (out []string) {
	for _, r := range responses {
		switch {
		case r.GetCurrent() != nil:
			out = append(out, "current "+r.GetCurrent().GetDisplayName())
		case r.GetChanged() != nil:
			out = append(out, "changed "+r.GetChanged().GetDisplayName())
		default:
			out = append(out, "removed "+resource.Name(r.GetRemoved()).ID())
		}
	}
	return out
}

// SPEC 1.F 36, 31: the object as it is comes first, then every change of it, and
// of nothing else, without a handle.
func TestSingle_CurrentThenChanges(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "1"}, &samplev1.Robot{Name: name("a"), DisplayName: "2"})
		x, missing := w.single("a", nil), w.single("b", nil)
		require.Equal(w.t, []string{"current 2"}, told(x.take()))
		require.Equal(w.t, []string{"removed b"}, told(missing.take()))
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "3"}, &samplev1.Robot{Name: name("aa"), DisplayName: "x"})
		w.remove("a")
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "4"}, &samplev1.Robot{Name: name("b"), DisplayName: "1"})
		got := x.take()
		require.Equal(w.t, []string{"changed 3", "removed a", "changed 4"}, told(got))
		require.Equal(w.t, []string{"changed 1"}, told(missing.take()))
		var last store.Seq
		for _, r := range got {
			v, err := store.ParseVersion(r.GetResourceVersion())
			require.NoError(w.t, err)
			require.Greater(w.t, v, last)
			last = v
		}
		require.Equal(w.t, got[2].GetChanged().GetMetadata().GetResourceVersion(), got[2].GetResourceVersion())
	})
}

// SPEC 1.F 43: what is masked out is not told, and secrets never are.
func TestSingle_MaskAndSecrets(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "1", Spec: &samplev1.RobotSpec{Pin: "secret", Color: "red"}})
		x, whole, pin := w.single("a", nil, "spec.color", "metadata.resource_version"), w.single("a", nil), w.single("a", nil, "spec.pin")
		got := x.take()
		require.Len(w.t, got, 1)
		require.Equal(w.t, "red", got[0].GetCurrent().GetSpec().GetColor())
		require.Equal(w.t, name("a"), got[0].GetCurrent().GetName())
		require.Empty(w.t, got[0].GetCurrent().GetDisplayName())
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "2", Spec: &samplev1.RobotSpec{Pin: "other", Color: "red"}})
		require.Empty(w.t, x.take())
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "2", Spec: &samplev1.RobotSpec{Pin: "other", Color: "blue"}})
		require.Equal(w.t, "blue", x.take()[0].GetChanged().GetSpec().GetColor())
		for _, r := range append(whole.take(), pin.take()...) {
			require.NotContains(w.t, r.String(), "secret")
			require.NotContains(w.t, r.String(), "other")
		}
	})
}

// TestSingle_Visible shows that who may not see an object, or no longer, is told
// that there is none.
func TestSingle_Visible(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		var see atomic.Bool
		visible := func(context.Context, *schema.Resource, proto.Message) bool { return see.Load() }
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "1"})
		x := w.single("a", visible)
		require.Equal(w.t, []string{"removed a"}, told(x.take()))
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "2"})
		require.Empty(w.t, x.take())
		see.Store(true)
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "3"})
		require.Equal(w.t, []string{"changed 3"}, told(x.take()))
		see.Store(false)
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "4"})
		w.remove("a")
		require.Equal(w.t, []string{"removed a"}, told(x.take()))
	})
}

// TestSingle_Trimmed shows that who missed changes that are gone gets the object
// as it is.
func TestSingle_Trimmed(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{Recent: 1, Behind: 1}, func(w *world) {
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "1"})
		x := w.single("a", nil)
		require.Len(w.t, x.take(), 1)
		release := x.block()
		for range 10 {
			w.save(&samplev1.Robot{Name: name("a"), DisplayName: "2"}, &samplev1.Robot{Name: name("a"), DisplayName: "3"})
			x.take()
		}
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 20))
		release()
		got := told(x.take())
		require.Equal(w.t, "current 3", got[len(got)-1])
		w.save(&samplev1.Robot{Name: name("a"), DisplayName: "4"})
		require.Equal(w.t, []string{"changed 4"}, told(x.take()))
	})
}

// TestServe_Refuses shows that requests that cannot succeed name their field.
func TestServe_Refuses(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		f := func(field string, req *samplev1.WatchRobotsRequest) {
			w.t.Helper()
			err := open[*samplev1.WatchRobotsResponse](w, w.all, req, nil).err()
			var x *fault.Error
			require.ErrorAs(w.t, err, &x)
			require.Equal(w.t, fault.Invalid, x.Kind)
			require.Equal(w.t, field, x.Field)
		}
		stateful, stateless := resourcev1.WatchType_STATEFUL, resourcev1.WatchType_STATELESS
		f("type", &samplev1.WatchRobotsRequest{Parent: "projects/p"})
		// SPEC 1.F 38.
		f("order_by", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", OrderBy: "name"})
		f("page_size", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", PageSize: 7})
		f("page_token", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", PageToken: "x"})
		f("max_chunk_size", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", MaxChunkSize: -1})
		f("resume_token", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", ResumeToken: "x"})
		f("filter", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", Filter: "x = "})
		f("read_mask", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "projects/p", ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"x"}}})
		f("parent", &samplev1.WatchRobotsRequest{Type: stateless, Parent: "x"})
		// SPEC 1.F 37.
		f("resume_token", &samplev1.WatchRobotsRequest{Type: stateful, Parent: "projects/p", ResumeToken: "x"})
		f("order_by", &samplev1.WatchRobotsRequest{Type: stateful, Parent: "projects/p", OrderBy: "x"})
		f("page_size", &samplev1.WatchRobotsRequest{Type: stateful, Parent: "projects/p", PageSize: -7})
	})
}
