package logging

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// The bounds of what is kept in memory of the registry: the projects, and how
// long what another process changed may go unseen.
const (
	cachedProjects = 1 << 12
	cachedFor      = time.Second
)

// Catalog remembers the buckets and descriptors of projects. The store tells it
// of every write.
type Catalog struct {
	cache *readcache.Cache[string, *scope]
	// described has room for one: that descriptors were written.
	described chan struct{}
}

// NewCatalog makes an empty catalog.
func NewCatalog() *Catalog {
	return &Catalog{readcache.New[string, *scope](cachedProjects, cachedFor), make(chan struct{}, 1)}
}

// Written is to be called with what was written, before the writer is told that
// it was: [store.Options].Written.
func (c *Catalog) Written(writes []store.Write) {
	var projects []string
	for _, w := range writes {
		switch w.Type {
		case loggingv1.BucketType, loggingv1.LogDescriptorType, loggingv1.DeletedLogType:
			projects = append(projects, w.Name.Project())
		}
		if w.Type == loggingv1.LogDescriptorType {
			select {
			case c.described <- struct{}{}:
			default: // somebody said so
			}
		}
	}
	if len(projects) > 0 {
		c.cache.Drop(projects...)
	}
}

// Registry is the service of buckets and descriptors of logs. Calls may be
// concurrent.
type Registry struct {
	*service.Service
	store   *store.Store
	catalog *Catalog
	options service.Options
	// descriptor, bucket and deleted are the types.
	descriptor, bucket, deleted *schema.Resource
	// promoted is what Run knows of the descriptors.
	promoted atomic.Pointer[promoted]
}

// NewRegistry makes the service over a store with its types, which tells the
// catalog what is written.
func NewRegistry(st *store.Store, c *Catalog, o service.Options) (*Registry, error) {
	r := &Registry{store: st, catalog: c, options: o}
	for name, to := range map[string]**schema.Resource{
		loggingv1.LogDescriptorType: &r.descriptor, loggingv1.BucketType: &r.bucket, loggingv1.DeletedLogType: &r.deleted,
	} {
		x, ok := st.Types().Type(name)
		if !ok {
			return nil, fmt.Errorf("logging: the store does not have the type %s", name)
		}
		*to = x
	}
	var desc *schema.Service
	for _, s := range st.Types().Services() {
		if s.Package == loggingv1.File_functions_logging_v1_logging_proto.Package() {
			desc = s
		}
	}
	if desc == nil {
		return nil, errors.New("logging: the store does not have the service's types")
	}
	o.Hooks = append(o.Hooks,
		service.On(service.Hooks[*loggingv1.LogDescriptor]{
			Validate: func(_ context.Context, _, d *loggingv1.LogDescriptor) error { return d.Check() },
		}),
		service.On(service.Hooks[*loggingv1.Bucket]{
			Validate: func(_ context.Context, old, b *loggingv1.Bucket) error { return b.Check(old) },
			Deleting: func(_ context.Context, b *loggingv1.Bucket) error { return b.Unlocked() },
		}))
	var err error
	r.Service, err = service.New(desc, st, o)
	return r, err
}

// scope is what is known of a project: its buckets by id, the descriptors of
// logs by the logs' ids and by their names, and the logs that were deleted.
// It is shared and not changed.
type scope struct {
	project string
	buckets map[string]*bucket
	logs    map[string]*loggingv1.LogDescriptor
	deleted []*loggingv1.DeletedLog
}

// scope reads what there is for a project.
func (r *Registry) scope(ctx context.Context, project string) (*scope, error) {
	if s, ok, err := r.catalog.cache.Get(project); ok {
		return s, err
	}
	project = strings.Clone(project)
	return r.catalog.cache.Load(project, func() (*scope, error) { return r.load(ctx, project) })
}

// load is scope without the cache.
func (r *Registry) load(ctx context.Context, project string) (*scope, error) {
	snapshot, _, err := r.store.Driver().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := &scope{project: project, buckets: map[string]*bucket{}, logs: map[string]*loggingv1.LogDescriptor{}}
	named := map[string]*loggingv1.LogDescriptor{}
	var buckets []*loggingv1.Bucket
	for _, typ := range []string{loggingv1.LogDescriptorType, loggingv1.BucketType, loggingv1.DeletedLogType} {
		scan := store.Scan{Type: typ}
		if typ != loggingv1.LogDescriptorType {
			// "0" follows "/": these are the names below the project.
			scan.From, scan.To = resource.Name("projects/"+project+"/"), resource.Name("projects/"+project+"0")
		}
		var broken error
		err = errors.Join(snapshot.Scan(ctx, scan, func(rec *store.Record) bool {
			var m proto.Message
			if m, broken = r.read(typ, rec); broken != nil {
				return false
			}
			switch m := m.(type) {
			case *loggingv1.LogDescriptor:
				named[m.GetName()] = m
				out.describe(m)
			case *loggingv1.Bucket:
				buckets = append(buckets, m)
			case *loggingv1.DeletedLog:
				out.deleted = append(out.deleted, m)
			}
			return true
		}), broken)
		if err != nil {
			break
		}
	}
	if err := errors.Join(err, snapshot.Close()); err != nil {
		return nil, fmt.Errorf("read buckets: %w", err)
	}
	for _, b := range buckets {
		out.buckets[resource.Name(b.GetName()).ID()] = newBucket(b, named)
	}
	if out.buckets[loggingv1.DefaultBucket] == nil {
		out.buckets[loggingv1.DefaultBucket] = newBucket(&loggingv1.Bucket{Name: bucketName(project, loggingv1.DefaultBucket)}, nil)
	}
	return out, nil
}

// read is the object of a record.
func (r *Registry) read(typ string, rec *store.Record) (proto.Message, error) {
	t := map[string]*schema.Resource{
		loggingv1.LogDescriptorType: r.descriptor, loggingv1.BucketType: r.bucket, loggingv1.DeletedLogType: r.deleted,
	}[typ]
	m := t.New()
	if err := proto.Unmarshal(rec.Body, m); err != nil {
		return nil, fmt.Errorf("%s: %w", rec.Name, err)
	}
	t.SetName(m, rec.Name)
	return m, nil
}

// describe adds a descriptor that holds in the project: one of its own before
// that of a service.
func (s *scope) describe(d *loggingv1.LogDescriptor) {
	name := resource.Name(d.GetName())
	own := name.Project() == s.project
	if !own && !strings.HasPrefix(d.GetName(), "services/") {
		return
	}
	if s.logs[d.GetLogId()] == nil || own {
		s.logs[d.GetLogId()] = d
	}
}

// bucketName is the name of a bucket.
func bucketName(project, id string) string { return "projects/" + project + "/buckets/" + id }

// Policy is what a bucket says about what is kept in it.
type Policy struct {
	// Project and Bucket are ids.
	Project, Bucket string
	// Retention and MaxBytes are as in [loggingv1.Bucket]; 0 is what the platform
	// keeps.
	Retention time.Duration
	MaxBytes  int64
	Locked    bool
}

// Policies are those of all buckets that somebody made.
func (r *Registry) Policies(ctx context.Context) ([]Policy, error) {
	snapshot, _, err := r.store.Driver().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var out []Policy
	var broken error
	err = snapshot.Scan(ctx, store.Scan{Type: loggingv1.BucketType}, func(rec *store.Record) bool {
		var m proto.Message
		if m, broken = r.read(loggingv1.BucketType, rec); broken != nil {
			return false
		}
		b := m.(*loggingv1.Bucket)
		out = append(out, Policy{
			Project: rec.Name.Project(), Bucket: rec.Name.ID(),
			Retention: b.GetRetention().AsDuration(), MaxBytes: b.GetMaxBytes(), Locked: b.GetLocked(),
		})
		return true
	})
	return out, errors.Join(err, broken, snapshot.Close())
}
