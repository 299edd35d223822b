package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/sdk/journal"
)

// bucket is a bucket of a project, each of which is a tenant of the engine.
type bucket struct {
	Project string `json:"project"`
	Bucket  string `json:"bucket"`
}

// tenants are the numbers of buckets: the offsets of their records in a journal,
// so a number is durable before anything is stored under it, is given once and
// never to another bucket.
type tenants struct {
	journal *journal.Journal

	mu      sync.RWMutex
	numbers map[bucket]uint32
	// projects are the buckets of each project, ascending by number.
	projects map[string][]uint32
}

// maxTenantBytes is the most that the names of buckets take on disk: millions.
const maxTenantBytes = 1 << 30

// openTenants reads them from a directory.
func openTenants(dir string) (*tenants, error) {
	j, err := journal.Open(dir, journal.Options{SegmentBytes: 64 << 10, MaxBytes: maxTenantBytes})
	if err != nil {
		return nil, fmt.Errorf("open names of buckets: %w", err)
	}
	t := &tenants{journal: j, numbers: make(map[bucket]uint32), projects: make(map[string][]uint32)}
	var batch journal.Batch
	for at := j.First(); at < j.End(); at = batch.Next() {
		if err := j.Read(at, &batch, 1<<20); err != nil {
			return nil, fmt.Errorf("read names of buckets: %w", err)
		}
		for i := range batch.Len() {
			var b bucket
			if err := json.Unmarshal(batch.At(i).Data, &b); err != nil {
				return nil, fmt.Errorf("read name %d of a bucket: %w", batch.At(i).Offset, err)
			}
			t.add(b, uint32(batch.At(i).Offset))
		}
	}
	return t, nil
}

// add makes a number known. mu is held, or nobody else knows t.
func (t *tenants) add(b bucket, n uint32) {
	if _, ok := t.numbers[b]; ok {
		return // The record of a call that failed came back after a restart.
	}
	t.numbers[b] = n
	t.projects[b.Project] = append(t.projects[b.Project], n)
}

// of returns the tenant of a bucket, which it makes if there is none.
func (t *tenants) of(ctx context.Context, b bucket) (logstorage.TenantID, error) {
	t.mu.RLock()
	n, ok := t.numbers[b]
	t.mu.RUnlock()
	if ok {
		return tenant(n), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.numbers[b]; ok {
		return tenant(n), nil
	}
	record, err := json.Marshal(b)
	if err != nil {
		return logstorage.TenantID{}, fmt.Errorf("write name of bucket: %w", err)
	}
	at, err := t.journal.Append(ctx, record)
	if err != nil {
		return logstorage.TenantID{}, fmt.Errorf("write name of bucket: %w", err)
	}
	if uint64(at) != uint64(uint32(at)) {
		panic("BUG: more names than fit into the journal of names")
	}
	t.add(b, uint32(at))
	return tenant(uint32(at)), nil
}

// some returns the tenants of some buckets of a project, or of all if buckets
// is nil, ascending, as the engine wants them. Those without entries have none.
func (t *tenants) some(project string, buckets []string) []logstorage.TenantID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	numbers := t.projects[project]
	if buckets != nil {
		numbers = nil
		for _, b := range buckets {
			if n, ok := t.numbers[bucket{project, b}]; ok {
				numbers = append(numbers, n)
			}
		}
	}
	return tenantsOf(numbers)
}

// all returns every tenant, ascending.
func (t *tenants) all() []logstorage.TenantID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var numbers []uint32
	for _, n := range t.numbers {
		numbers = append(numbers, n)
	}
	return tenantsOf(numbers)
}

// names returns the projects, ascending.
func (t *tenants) names() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.projects))
	for p := range t.projects {
		names = append(names, p)
	}
	slices.Sort(names)
	return names
}

// tenantsOf makes tenants of numbers, each once.
func tenantsOf(numbers []uint32) []logstorage.TenantID {
	sorted := slices.Compact(slices.Sorted(slices.Values(numbers)))
	ids := make([]logstorage.TenantID, len(sorted))
	for i, n := range sorted {
		ids[i] = tenant(n)
	}
	return ids
}

// tenant is the engine's form of a number.
func tenant(n uint32) logstorage.TenantID { return logstorage.TenantID{AccountID: n} }
