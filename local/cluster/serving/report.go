package serving

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// LogOptions are the parameters of `kubectl logs`.
type LogOptions struct {
	podlog.ReadOptions
	// Container is "" or the name of the function's.
	Container string
}

// Logs reads what an instance printed, also for a while after it has gone.
func (s *Serving) Logs(ctx context.Context, namespace, pod string, o LogOptions) (io.ReadCloser, error) {
	l, err := s.o.Logs.Get(namespace, pod)
	if err != nil {
		return nil, err
	}
	want := spec.UserContainer
	if p, err := s.store.Get(spec.Pod, namespace, pod); err == nil {
		want = cmp.Or(p.Annotations()["kubectl.kubernetes.io/default-container"], want)
	}
	if o.Container != "" && o.Container != want {
		return nil, &fault.Error{Op: "serving.Logs", Kind: fault.Invalid, Name: pod, Field: "container", Err: fmt.Errorf("container %s is not valid for pod %s", o.Container, pod)}
	}
	return l.Read(ctx, o.ReadOptions), nil
}

// RevisionStats are the figures of one revision.
type RevisionStats struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Revision  string `json:"revision"`
	pool.Stats
}

// Stats are the figures of all revisions, by namespace and name.
func (s *Serving) Stats() []RevisionStats {
	s.mu.RLock()
	units := make([]*unit, 0, len(s.units))
	for _, u := range s.units {
		units = append(units, u)
	}
	s.mu.RUnlock()
	out := make([]RevisionStats, len(units))
	for i, u := range units {
		out[i] = RevisionStats{u.at.namespace, u.id.Service, u.at.name, u.pool.Stats()}
	}
	slices.SortFunc(out, func(a, b RevisionStats) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Revision, b.Revision))
	})
	return out
}
