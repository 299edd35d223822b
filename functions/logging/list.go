package logging

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// The bounds of a list, as Google has them.
const (
	defaultPage  = 50
	maxPage      = 1000
	maxResources = 100
	maxToken     = 64 << 10
)

// part is a part of what is asked for: buckets of one project.
type part struct {
	project string
	buckets []string
}

// selection is what a request is about.
type selection struct {
	parts []part
	// filter is nil for all.
	filter filter.Expr
	// from and to bound the times; zero is no bound.
	from, to time.Time
}

// of is the selection in one part, without the logs that were deleted.
func (d *Doors) of(ctx context.Context, sel *selection, p part) (logstore.Selection, error) {
	s, err := d.o.Registry.scope(ctx, p.project)
	if err != nil {
		return logstore.Selection{}, err
	}
	return logstore.Selection{Project: p.project, Buckets: p.buckets, From: sel.from, To: sel.to, Filter: s.visible(sel.filter)}, nil
}

// selectParts reads resource names, and asks for the permission on each.
func (d *Doors) selectParts(ctx context.Context, permission string, names []string) ([]part, error) {
	switch {
	case len(names) == 0:
		return nil, invalid("resourceNames", "it is empty: name a project by projects/PROJECT")
	case len(names) > maxResources:
		return nil, invalid("resourceNames", "there are %d of them, and at most %d can be", len(names), maxResources)
	}
	var out []part
	for _, name := range names {
		project, id, err := parseResource(name)
		if err != nil {
			return nil, err
		}
		s, err := d.o.Registry.scope(ctx, project)
		if err != nil {
			return nil, err
		}
		p := part{project: project}
		if id == "" {
			if p.buckets, err = d.readable(ctx, s, permission); err != nil {
				return nil, err
			}
		} else {
			if err := d.allow(ctx, reading(permission, id), resource.Name(bucketName(project, id))); err != nil {
				return nil, err
			}
			if s.buckets[id] == nil && id != loggingv1.AuditBucket {
				return nil, &fault.Error{Op: "logging.list", Name: bucketName(project, id), Kind: fault.NotFound, Reason: reasonNoBucket, Field: "resourceNames"}
			}
			p.buckets = []string{id}
		}
		out = merge(out, p)
	}
	slices.SortFunc(out, func(a, b part) int { return cmp.Compare(a.project, b.project) })
	return out, nil
}

// merge adds a part to those of other projects or other buckets.
func merge(all []part, p part) []part {
	for i := range all {
		if all[i].project != p.project {
			continue
		}
		all[i].buckets = slices.Compact(slices.Sorted(slices.Values(slices.Concat(all[i].buckets, p.buckets))))
		return all
	}
	return append(all, p)
}

// parseResource reads a resource name: "projects/P", or a bucket as we or as
// Google name it, "projects/P/buckets/B" and
// "projects/P/locations/L/buckets/B/views/_AllLogs".
func parseResource(name string) (project, bucket string, err error) {
	s := strings.Split(name, "/")
	bad := invalid("resourceNames", "%.100q is neither projects/PROJECT nor projects/PROJECT/locations/global/buckets/BUCKET/views/_AllLogs", name)
	switch {
	case len(s) < 2 || s[0] != "projects":
		return "", "", bad
	case len(s) == 4 && s[2] == "buckets":
		bucket = s[3]
	case len(s) == 8 && s[2] == "locations" && s[4] == "buckets" && s[6] == "views" && s[7] == "_AllLogs":
		bucket = s[5]
	case len(s) != 2:
		return "", "", bad
	}
	if bucket != "" {
		if _, err := resource.Pattern("projects/{project}/buckets/{bucket}").Format(s[1], bucket); err != nil {
			return "", "", err
		}
	}
	return s[1], bucket, checkProject(s[1])
}

// parseFilter reads a filter; "" is nil.
func parseFilter(text string) (filter.Expr, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	f, err := filter.Parse(text)
	if err != nil {
		return nil, &fault.Error{Op: "logging.parseFilter", Kind: fault.Invalid, Reason: "INVALID_FILTER", Field: "filter", Err: err}
	}
	return f, nil
}

// token is where a page ends, in the parts of a list by project.
type token struct {
	// Of is the hash of what was asked for.
	Of string `json:"o"`
	// At are the positions of the last entries by project.
	At map[string]place `json:"a"`
}

// place is a position in a token.
type place struct {
	Time   int64  `json:"t"`
	ID     string `json:"i"`
	Log    string `json:"l"`
	Bucket string `json:"b"`
}

// position is the place as stores know it.
func (p place) position() logstore.Position {
	return logstore.Position{Time: time.Unix(0, p.Time).UTC(), InsertID: p.ID, Log: p.Log, Bucket: p.Bucket}
}

// readToken reads the token of a page; of is what is asked for.
func readToken(text string, of string) (map[string]place, error) {
	if text == "" {
		return nil, nil
	}
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || len(text) > maxToken {
		return nil, invalid("pageToken", "it is not one that this service gave")
	}
	if t.Of != of {
		return nil, invalid("pageToken", "it is of a list with another filter, order or resource names")
	}
	return t.At, nil
}

// String is the token as text.
func (t token) String() string {
	return base64.RawURLEncoding.EncodeToString(mustJSON(json.Marshal(t)))
}

// hashOf is a hash of texts.
func hashOf(texts ...string) string {
	sum := sha256.Sum256(mustJSON(json.Marshal(texts)))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// list is a page of the entries of a selection, and the places where it ends if
// there may be more.
func (d *Doors) list(ctx context.Context, sel *selection, descending bool, limit int, after map[string]place) ([]logstore.Entry, map[string]place, error) {
	if after == nil {
		// What the caller wrote before he asks is to be found.
		if err := d.flush(ctx); err != nil {
			return nil, nil, err
		}
	}
	var all []logstore.Entry
	var short []logstore.Entry // the last entries of pages that may be short
	cut := false
	for _, p := range sel.parts {
		in, err := d.of(ctx, sel, p)
		if err != nil {
			return nil, nil, err
		}
		q := logstore.Query{Selection: in, Descending: descending, Limit: limit + 1}
		if at, ok := after[p.project]; ok {
			q.After = at.position()
		}
		found, err := d.o.Reader.List(ctx, q)
		if err != nil {
			return nil, nil, fmt.Errorf("list entries: %w", err)
		}
		all = append(all, found...)
		cut = cut || len(found) > limit
		if size(found) >= logstore.MaxPage/2 {
			short = append(short, found[len(found)-1])
		}
	}
	order := compare
	if descending {
		order = func(a, b *logstore.Entry) int { return compare(b, a) }
	}
	slices.SortStableFunc(all, func(a, b logstore.Entry) int { return order(&a, &b) })
	n := min(limit, len(all))
	for i := range short { // what else there is before the others is not known
		end := func(e logstore.Entry) bool { return order(&e, &short[i]) > 0 }
		if at := slices.IndexFunc(all[:n], end); at >= 0 {
			n = at
		}
	}
	if !cut && short == nil && n == len(all) {
		return all, nil, nil
	}
	next := map[string]place{}
	for k, v := range after {
		next[k] = v
	}
	for i := range all[:n] {
		e := &all[i]
		next[e.Project] = place{e.Time.UnixNano(), e.InsertID, e.Log, e.Bucket}
	}
	return all[:n], next, nil
}

// size is about how many bytes entries have.
func size(all []logstore.Entry) int {
	n := 0
	for i := range all {
		n += all[i].Size()
	}
	return n
}

// compare is the order of entries: that of positions, then by project.
func compare(a, b *logstore.Entry) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.InsertID, b.InsertID), cmp.Compare(a.Log, b.Log), cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Project, b.Project))
}

// parseOrder reads the order of a list.
func parseOrder(text string) (descending bool, err error) {
	switch strings.ToLower(strings.Join(strings.Fields(text), " ")) {
	case "", "timestamp", "timestamp asc":
		return false, nil
	case "timestamp desc":
		return true, nil
	}
	return false, invalid("orderBy", `%.100q is neither "timestamp asc" nor "timestamp desc"`, text)
}

// pageSize is the size of a page that asks for n.
func pageSize(n int32) (int, error) {
	switch {
	case n < 0:
		return 0, invalid("pageSize", "it is negative")
	case n == 0:
		return defaultPage, nil
	}
	return min(int(n), maxPage), nil
}

// page is a page of entries and the token of the next one, "" after the last.
func (d *Doors) page(ctx context.Context, req *loggingpb.ListLogEntriesRequest) ([]logstore.Entry, string, error) {
	names := req.GetResourceNames()
	parts, err := d.selectParts(ctx, ListEntries, names)
	if err != nil {
		return nil, "", err
	}
	f, err := parseFilter(req.GetFilter())
	if err != nil {
		return nil, "", err
	}
	descending, err := parseOrder(req.GetOrderBy())
	if err != nil {
		return nil, "", err
	}
	limit, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	of := hashOf(append([]string{req.GetFilter(), fmt.Sprint(descending)}, names...)...)
	after, err := readToken(req.GetPageToken(), of)
	if err != nil {
		return nil, "", err
	}
	found, next, err := d.list(ctx, &selection{parts: parts, filter: f}, descending, limit, after)
	if err != nil || next == nil {
		return found, "", err
	}
	return found, token{of, next}.String(), nil
}

// listEntries answers ListLogEntries over gRPC.
func (d *Doors) listEntries(ctx context.Context, req *loggingpb.ListLogEntriesRequest) (*loggingpb.ListLogEntriesResponse, error) {
	found, next, err := d.page(ctx, req)
	if err != nil {
		return nil, err
	}
	out, err := asEntries(found)
	return &loggingpb.ListLogEntriesResponse{Entries: out, NextPageToken: next}, err
}

// listJSON is the answer of a list over REST.
func listJSON(found []logstore.Entry, next string) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i := range found {
		text, err := entryJSON(&found[i])
		if err != nil {
			return nil, err
		}
		out.WriteString(map[bool]string{true: `"entries":[`, false: ","}[i == 0])
		out.Write(text)
	}
	if len(found) > 0 {
		out.WriteByte(']')
	}
	if next != "" {
		if len(found) > 0 {
			out.WriteByte(',')
		}
		out.WriteString(`"nextPageToken":`)
		out.Write(mustJSON(json.Marshal(next)))
	}
	out.WriteString("}\n")
	return out.Bytes(), nil
}
