package audit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// The sizes of pages.
const (
	defaultPage = 50
	maxPage     = 1000
)

// listActivityLogs answers ListActivityLogs.
func (s *Service) listActivityLogs(ctx context.Context, req *auditv1.ListActivityLogsRequest) (*auditv1.ListActivityLogsResponse, error) {
	q, err := newQuery(auditv1.ActivityLog, req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	q.between(req.GetStartTime(), req.GetEndTime())
	out := &auditv1.ListActivityLogsResponse{}
	out.NextPageToken, err = s.page(ctx, q, req.GetPageSize(), req.GetPageToken(), func(body []byte) error {
		m := &resourcev1.ActivityLog{}
		out.ActivityLogs = append(out.ActivityLogs, m)
		return read(body, m)
	})
	return out, err
}

// listResourceChangeLogs answers ListResourceChangeLogs.
func (s *Service) listResourceChangeLogs(ctx context.Context, req *auditv1.ListResourceChangeLogsRequest) (*auditv1.ListResourceChangeLogsResponse, error) {
	q, err := newQuery(auditv1.ChangeLog, req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	q.between(req.GetStartTime(), req.GetEndTime())
	out := &auditv1.ListResourceChangeLogsResponse{}
	out.NextPageToken, err = s.page(ctx, q, req.GetPageSize(), req.GetPageToken(), func(body []byte) error {
		m := &resourcev1.ResourceChangeLog{}
		out.ResourceChangeLogs = append(out.ResourceChangeLogs, m)
		return read(body, m)
	})
	return out, err
}

// getResourceHistory answers GetResourceHistory.
func (s *Service) getResourceHistory(ctx context.Context, req *auditv1.GetResourceHistoryRequest) (*auditv1.GetResourceHistoryResponse, error) {
	parent := req.GetParent()
	project := resource.Name(req.GetResource()).Project()
	switch {
	case parent == "" && project != "":
		parent = "projects/" + project
	case parent != "" && parent != "projects/"+project:
		return nil, invalid("resource", fmt.Errorf("%.200q is not in %s", req.GetResource(), parent))
	}
	q, err := newQuery(auditv1.ChangeLog, parent, "")
	if err != nil {
		return nil, err
	}
	q.terms = append(q.terms, equal(req.GetResource(), "resource", "labels", nameLabel))
	if t := req.GetResourceType(); t != "" {
		q.terms = append(q.terms, equal(t, "resource", "type"))
	}
	q.request += "\x00" + req.GetResource() + "\x00" + req.GetResourceType()
	out := &auditv1.GetResourceHistoryResponse{}
	if req.GetPath() != "" {
		// A change of something above or below the path is one of the path.
		q.wanted = func(body []byte) bool {
			var has struct{ Paths []string }
			return json.Unmarshal(body, &has) != nil || slices.ContainsFunc(has.Paths, func(p string) bool { return within(p, req.GetPath()) || within(req.GetPath(), p) })
		}
		q.request += "\x00" + req.GetPath()
	}
	out.NextPageToken, err = s.page(ctx, q, req.GetPageSize(), req.GetPageToken(), func(body []byte) error {
		m := &resourcev1.ResourceChangeLog{}
		out.Changes = append(out.Changes, m)
		return read(body, m)
	})
	return out, err
}

// within reports whether a path is another one, or below it.
func within(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// read reads a record, which a later release may have written.
func read(body []byte, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return &fault.Error{Op: "audit.Read", Kind: fault.Internal, Reason: "DAMAGED", Err: err}
	}
	return nil
}

// equal is a comparison with a text.
func equal(value string, path ...string) filter.Expr {
	return &filter.Comparison{Path: path, Op: filter.Equal, Value: filter.Value{Text: value, Quoted: true}}
}

// query is what is looked for.
type query struct {
	project  string
	terms    []filter.Expr
	from, to time.Time
	// wanted, if not nil, is asked about each entry that is found.
	wanted func(body []byte) bool
	// request is what a page token is of.
	request string
}

// newQuery is a query of a log of a parent.
func newQuery(log, parent, text string) (*query, error) {
	q := &query{project: auditv1.Platform, request: log + "\x00" + parent + "\x00" + text}
	if parent != "" {
		n, err := resource.Project.Parse(parent)
		if err != nil || n.ID() == resource.Wildcard {
			return nil, invalid("parent", errors.New(`want "projects/P", or nothing for what belongs to no project`))
		}
		q.project = n.ID()
	}
	q.terms = []filter.Expr{&filter.Call{Name: filter.FuncLogID, Args: []filter.Value{{Text: log, Quoted: true}}}}
	e, err := filter.Parse(text)
	if err != nil {
		return nil, err
	}
	switch e := e.(type) {
	case nil:
	case *filter.And:
		q.terms = append(q.terms, e.Terms...)
	default:
		q.terms = append(q.terms, e)
	}
	return q, nil
}

// between bounds the times.
func (q *query) between(from, to *timestamppb.Timestamp) {
	if from != nil {
		q.from = from.AsTime()
	}
	if to != nil {
		q.to = to.AsTime()
	}
	q.request += fmt.Sprintf("\x00%d\x00%d", q.from.UnixNano(), q.to.UnixNano())
}

// expr is the filter of the query.
func (q *query) expr() filter.Expr {
	if len(q.terms) == 1 {
		return q.terms[0]
	}
	return &filter.And{Terms: q.terms}
}

// maxLooked bounds the entries that a page with a condition of its own looks at.
const maxLooked = 10_000

// page calls give with the payloads of a page, and returns the token of the next
// one.
func (s *Service) page(ctx context.Context, q *query, size int32, token string, give func([]byte) error) (next string, err error) {
	n := int(size)
	if n == 0 {
		n = defaultPage
	}
	n = min(n, maxPage)
	after, err := q.open(token)
	if err != nil {
		return "", err
	}
	// One more tells whether there is another page.
	for looked := 0; ; {
		limit := n + 1
		if q.wanted != nil {
			limit = maxPage
		}
		entries, err := s.logs.List(ctx, logstore.Query{
			Selection:  logstore.Selection{Project: q.project, Buckets: []string{auditv1.Bucket}, From: q.from, To: q.to, Filter: q.expr()},
			Descending: true, Limit: limit, After: after,
		})
		if err != nil {
			return "", fmt.Errorf("audit: reading the log: %w", err)
		}
		for i := range entries {
			e := &entries[i]
			if q.wanted == nil || q.wanted(e.Payload.Data) {
				if n == 0 {
					return q.seal(after), nil
				}
				if err := give(e.Payload.Data); err != nil {
					return "", err
				}
				n--
			}
			after = e.Position()
		}
		switch looked += len(entries); {
		case len(entries) == 0:
			return "", nil
		case looked >= maxLooked:
			return q.seal(after), nil
		}
	}
}

// place is a page token: the last entry before the page, and what it is a page
// of.
type place struct {
	Time     time.Time `json:"t"`
	InsertID string    `json:"i"`
	Of       []byte    `json:"q"`
}

// digest identifies the request.
func (q *query) digest() []byte {
	sum := sha256.Sum256([]byte(q.project + "\x00" + q.request))
	return sum[:12]
}

// seal is the token of what comes after a position.
func (q *query) seal(p logstore.Position) string {
	b, err := json.Marshal(place{p.Time, p.InsertID, q.digest()})
	if err != nil {
		panic("BUG: audit: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// open is the position of a token, zero for none.
func (q *query) open(token string) (logstore.Position, error) {
	if token == "" {
		return logstore.Position{}, nil
	}
	var p place
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || string(p.Of) != string(q.digest()) {
		return logstore.Position{}, &fault.Error{
			Op: "audit.List", Kind: fault.Invalid, Reason: "INVALID_PAGE_TOKEN", Field: "pageToken", Err: errors.New("it is no token of a page of this request"),
		}
	}
	log, _, _ := strings.Cut(q.request, "\x00")
	return logstore.Position{Time: p.Time.UTC(), InsertID: p.InsertID, Log: log, Bucket: auditv1.Bucket}, nil
}
