package logging

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	labelpb "google.golang.org/genproto/googleapis/api/label"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/tsdb"
)

// The bounds of logs.
const (
	maxLogs = 1000
	// maxDeleted bounds the logs of a project that were deleted and of which
	// entries are still there, out of sight.
	maxDeleted = 100
)

// listLogs answers ListLogs: the logs of which there are entries.
func (d *Doors) listLogs(ctx context.Context, req *loggingpb.ListLogsRequest) (*loggingpb.ListLogsResponse, error) {
	names := req.GetResourceNames()
	if len(names) == 0 {
		names = []string{req.GetParent()}
	}
	parts, err := d.selectParts(ctx, ListLogs, names)
	if err != nil {
		return nil, err
	}
	of := hashOf(names...)
	after, err := readToken(req.GetPageToken(), of)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size < 0 {
		return nil, invalid("pageSize", "it is negative")
	}
	if size == 0 || size > maxLogs {
		size = maxLogs
	}
	if after == nil {
		if err := d.flush(ctx); err != nil {
			return nil, err
		}
	}
	var logs []string
	for _, p := range parts {
		sel, err := d.of(ctx, &selection{}, p)
		if err != nil {
			return nil, err
		}
		groups, err := d.o.Reader.Count(ctx, logstore.Counting{Selection: sel, By: [][]string{{"logName"}}})
		if err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		for _, g := range groups {
			logs = append(logs, g.Values[0])
		}
	}
	slices.Sort(logs)
	if last, ok := after[""]; ok {
		at, found := slices.BinarySearch(logs, last.Log)
		if found {
			at++
		}
		logs = logs[at:]
	}
	answer := &loggingpb.ListLogsResponse{LogNames: logs}
	if len(logs) > size {
		answer.LogNames = logs[:size]
		answer.NextPageToken = token{of, map[string]place{"": {Log: logs[size-1]}}}.String()
	}
	return answer, nil
}

// deletedName is the name of what says that a log was deleted.
func deletedName(project, log string) resource.Name {
	sum := sha256.Sum256([]byte(log))
	return resource.Name("projects/" + project + "/deletedLogs/" + hex.EncodeToString(sum[:16]))
}

// deleteLog answers DeleteLog: the entries of the log up to now are not found
// any more, and go when the time comes for their days. A log of which a locked
// bucket has entries is not deleted.
func (d *Doors) deleteLog(ctx context.Context, name string) error {
	project, log, err := parseLogName("logName", name)
	if err != nil {
		return err
	}
	if err := d.allow(ctx, DeleteLog, resource.Name("projects/"+project)); err != nil {
		return err
	}
	s, err := d.o.Registry.scope(ctx, project)
	if err != nil {
		return err
	}
	if err := d.o.Intake.Flush(ctx); err != nil {
		return err
	}
	there := func(buckets []string) (bool, error) {
		groups, err := d.o.Reader.Count(ctx, logstore.Counting{Selection: logstore.Selection{Project: project, Buckets: buckets, Filter: s.visible(ofLog(log))}})
		return len(groups) > 0, err
	}
	if found, err := there(nil); err != nil || !found {
		return errors.Join(err, notThere(err, name))
	}
	if locked := s.locked(); len(locked) > 0 {
		if found, err := there(locked); err != nil {
			return err
		} else if found {
			return &fault.Error{
				Op: "logging.deleteLog", Name: name, Kind: fault.Precondition, Reason: "BUCKET_LOCKED", Field: "logName",
				Err: errors.New("a locked bucket has entries of the log"),
			}
		}
	}
	return d.o.Registry.hide(ctx, s, log, d.o.Now())
}

// notThere is the fault of a log without entries, unless there is another error.
func notThere(err error, name string) error {
	if err != nil {
		return nil
	}
	return &fault.Error{Op: "logging.deleteLog", Name: name, Kind: fault.NotFound, Field: "logName", Err: errors.New("there is no such log")}
}

// locked are the ids of the locked buckets; that of the audit log always is.
func (s *scope) locked() []string {
	out := []string{loggingv1.AuditBucket}
	for id, b := range s.buckets {
		if b.locked && id != loggingv1.AuditBucket {
			out = append(out, id)
		}
	}
	return out
}

// ofLog is a filter for the entries of a log.
func ofLog(log string) filter.Expr {
	return &filter.Call{Name: filter.FuncLogID, Args: []filter.Value{{Text: log, Quoted: true}}}
}

// visible is a filter without what was deleted.
func (s *scope) visible(f filter.Expr) filter.Expr {
	if len(s.deleted) == 0 {
		return f
	}
	var terms []filter.Expr
	switch f := f.(type) {
	case nil:
	case *filter.And:
		terms = slices.Clone(f.Terms)
	default:
		terms = append(terms, f)
	}
	for _, x := range s.deleted {
		terms = append(terms, &filter.Not{Term: &filter.And{Terms: []filter.Expr{
			ofLog(x.GetLogId()),
			&filter.Comparison{Path: []string{"timestamp"}, Op: filter.Less, Value: filter.Value{Text: x.GetBefore().AsTime().Format(time.RFC3339Nano), Quoted: true}},
		}}})
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return &filter.And{Terms: terms}
}

// hide says that the entries of a log before a time are gone.
func (r *Registry) hide(ctx context.Context, s *scope, log string, before time.Time) error {
	name := deletedName(s.project, log)
	known := slices.ContainsFunc(s.deleted, func(x *loggingv1.DeletedLog) bool { return x.GetLogId() == log })
	if len(s.deleted) >= maxDeleted && !known {
		return &fault.Error{
			Op: "logging.deleteLog", Kind: fault.Exhausted, Reason: "TOO_MANY_DELETED_LOGS",
			Err: fmt.Errorf("%d logs of the project were deleted, and their entries are there until their days go", len(s.deleted)),
		}
	}
	if r.options.Policies != nil {
		follows, err := r.options.Policies.For(ctx, name)
		if err != nil {
			return err
		}
		ctx = policy.With(ctx, follows)
	}
	return r.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		m, err := r.store.Get(ctx, r.deleted, name)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		x := &loggingv1.DeletedLog{Name: string(name)}
		if old, ok := m.(*loggingv1.DeletedLog); ok && old != nil {
			x = proto.CloneOf(old)
		}
		x.LogId, x.Before = log, timestamppb.New(before)
		return r.store.Save(ctx, x, store.SaveOptions{})
	})
}

// listResources answers ListMonitoredResourceDescriptors: the types that every
// project has.
func (d *Doors) listResources(ctx context.Context, _ *loggingpb.ListMonitoredResourceDescriptorsRequest) (*loggingpb.ListMonitoredResourceDescriptorsResponse, error) {
	list := []tsdb.ResourceDescriptor{{
		Type: deviceType, DisplayName: "Device", Description: "A device that is registered in a project.",
		Labels: []tsdb.LabelDescriptor{{Key: "project_id"}, {Key: "device_id"}},
	}}
	if d.o.Resources != nil {
		var err error
		if list, err = d.o.Resources.ListResources(ctx, ""); err != nil {
			return nil, err
		}
	}
	answer := &loggingpb.ListMonitoredResourceDescriptorsResponse{}
	for _, x := range list {
		p := &monitoredrespb.MonitoredResourceDescriptor{Type: x.Type, DisplayName: x.DisplayName, Description: x.Description}
		for _, l := range x.Labels {
			p.Labels = append(p.Labels, &labelpb.LabelDescriptor{Key: l.Key, Description: l.Description})
		}
		answer.ResourceDescriptors = append(answer.ResourceDescriptors, p)
	}
	return answer, nil
}
