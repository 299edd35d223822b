package plugins

import (
	"context"
	"sync"

	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Access is what [Usage] counts by.
type Access struct {
	// Scope is the first two segments of the names, "projects/p", or "".
	Scope resource.Name
	// Type is the type, Verb is get, list, create, update or delete.
	Type, Verb string
}

// maxAccesses bounds what Usage counts apart: beyond it scopes are one, "*".
const maxAccesses = 100_000

// Usage counts the objects that are read and written, for metrics. The zero
// value is ready. It may be used concurrently.
type Usage struct {
	mu sync.Mutex
	n  map[Access]int64
}

var (
	_ store.Plugin   = (*Usage)(nil)
	_ store.Observer = (*Usage)(nil)
)

// Prepare implements [store.Plugin]. What is not committed does not count.
func (u *Usage) Prepare(context.Context, *store.Tx, *store.Pending) error { return nil }

// Observe implements [store.Observer].
func (u *Usage) Observe(r *schema.Resource, scope resource.Name, verb string, n int) {
	a := Access{scope, r.Type, verb}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n == nil {
		u.n = map[Access]int64{}
	}
	if _, ok := u.n[a]; !ok && len(u.n) >= maxAccesses {
		a.Scope = everywhere
	}
	u.n[a] += int64(n)
}

// Snapshot is what was counted since the beginning.
func (u *Usage) Snapshot() map[Access]int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[Access]int64, len(u.n))
	for a, n := range u.n {
		out[a] = n
	}
	return out
}
