package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// activity is a record of a call, as far as a table shows it.
type activity struct {
	Time      time.Time `json:"time"`
	Category  string    `json:"category"`
	Principal string    `json:"principal"`
	Method    string    `json:"method"`
	Resource  string    `json:"resource"`
	Denied    []struct {
		Permission string `json:"permission"`
	} `json:"denied"`
	Status *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"status"`
}

// change is a record of a change, as far as a table shows it.
type change struct {
	Time      time.Time      `json:"time"`
	Principal string         `json:"principal"`
	Method    string         `json:"method"`
	Verb      string         `json:"verb"`
	Reason    string         `json:"reason"`
	Resource  string         `json:"resource"`
	Paths     []string       `json:"paths"`
	Previous  map[string]any `json:"previous"`
	Current   map[string]any `json:"current"`
}

// audit is `selvedge audit`.
func (a *app) audit() *cobra.Command {
	return group("audit", "Who did what, and what it was before", a.auditQuery(), a.auditWho(), a.auditVerify(), a.auditHead(), a.auditExport(), a.auditKey())
}

// auditQuery is `selvedge audit query`.
func (a *app) auditQuery() *cobra.Command {
	var since time.Duration
	var limit int
	var changes, platform bool
	c := &cobra.Command{
		Use: "query [FILTER]", Short: "The records of calls or, with --changes, of changes, the newest first", Args: between("", "FILTER"),
		Example: `  selvedge audit query --since 24h
  selvedge audit query 'jsonPayload.category=REJECTED'
  selvedge audit query --changes 'resource.type="devices.selvedge.dev/Device" AND jsonPayload.principal="users/u"'`,
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) > 0 {
				q.Set("filter", args[0])
			}
			if since > 0 {
				q.Set("startTime", time.Now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			base := "/v1/projects/" + a.project
			if platform {
				base = "/v1"
			}
			if changes {
				return a.records(c.Context(), records{base + "/resourceChangeLogs", "resourceChangeLogs", limit, changeTable}, q)
			}
			return a.records(c.Context(), records{base + "/activityLogs", "activityLogs", limit, activityTable}, q)
		},
	}
	f := c.Flags()
	f.DurationVar(&since, "since", 0, "only since that long ago, such as 24h")
	f.IntVar(&limit, "limit", 50, "how many at most")
	f.BoolVar(&changes, "changes", false, "changes of resources rather than calls")
	f.BoolVar(&platform, "platform", false, "what belongs to no project")
	return c
}

// auditWho is `selvedge audit who`.
func (a *app) auditWho() *cobra.Command {
	var path string
	var limit int
	c := &cobra.Command{
		Use: "who RESOURCE", Short: "Who changed a resource, and what it was before", Args: exactly("RESOURCE"),
		Long: `Who changed a resource, when and by which method, and what each field was before
and after, the newest change first. The resource need not be there any more.`,
		Example: "  selvedge audit who devices/pump-1\n  selvedge audit who devices/pump-1 --path route",
		RunE: func(c *cobra.Command, args []string) error {
			name := strings.Trim(args[0], "/")
			base := "/v1"
			if !strings.HasPrefix(name, "projects/") && strings.Count(name, "/") == 1 {
				name = "projects/" + a.project + "/" + name
			}
			if parts := strings.SplitN(name, "/", 3); parts[0] == "projects" && len(parts) > 1 {
				base += "/projects/" + url.PathEscape(parts[1])
			}
			q := url.Values{"resource": {name}}
			if path != "" {
				q.Set("path", path)
			}
			return a.records(c.Context(), records{base + "/resourceHistory", "changes", limit, whoTable}, q)
		},
	}
	c.Flags().StringVar(&path, "path", "", "only changes of this field: spec.color")
	c.Flags().IntVar(&limit, "limit", 50, "how many changes at most")
	return c
}

// maxAuditPage is how many records are asked for at once.
const maxAuditPage = 500

// records are a list of records: where it is, in which member of the answer, how
// many of them at most, and their table.
type records struct {
	path, field string
	limit       int
	table       func(io.Writer, []json.RawMessage) error
}

// records prints the first records of a list, whole or as a table.
func (a *app) records(ctx context.Context, r records, q url.Values) error {
	if r.limit < 1 {
		return usageError{fmt.Errorf("--limit is %d: want 1 or more", r.limit)}
	}
	all := []json.RawMessage{}
	for more := true; more && len(all) < r.limit; {
		q.Set("pageSize", strconv.Itoa(min(r.limit-len(all), maxAuditPage)))
		var page map[string]json.RawMessage
		if err := a.client().Call(ctx, http.MethodGet, r.path, q, nil, &page); err != nil {
			return err
		}
		var items []json.RawMessage
		var next string
		for name, into := range map[string]any{r.field: &items, "nextPageToken": &next} {
			if page[name] == nil {
				continue
			}
			if err := json.Unmarshal(page[name], into); err != nil {
				return fmt.Errorf("answer of %s: %s: %w", r.path, name, err)
			}
		}
		all, more = append(all, items...), next != ""
		q.Set("pageToken", next)
	}
	var failed error
	err := a.print(all, func(w io.Writer) { failed = r.table(w, all) })
	if failed != nil {
		return failed
	}
	return err
}

// each reads each record.
func each[T any](all []json.RawMessage, f func(T)) error {
	for _, text := range all {
		var v T
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("a record of the audit: %w", err)
		}
		f(v)
	}
	return nil
}

// activityTable writes records of calls.
func activityTable(w io.Writer, all []json.RawMessage) error {
	row(w, "TIME", "WHO", "CATEGORY", "METHOD", "RESOURCE", "WHY NOT")
	return each(all, func(r activity) {
		why := ""
		if r.Status != nil {
			why = r.Status.Reason
			if why == "" {
				why = r.Status.Message
			}
		}
		if len(r.Denied) > 0 {
			why = strings.TrimSpace(why + " " + r.Denied[0].Permission)
		}
		row(w, r.Time.Format(time.RFC3339Nano), r.Principal, r.Category, shortMethod(r.Method), r.Resource, why)
	})
}

// changeTable writes records of changes.
func changeTable(w io.Writer, all []json.RawMessage) error {
	row(w, "TIME", "WHO", "WHAT", "RESOURCE", "BY", "FIELDS")
	return each(all, func(r change) {
		row(w, r.Time.Format(time.RFC3339Nano), r.Principal, r.Verb, r.Resource, by(r), strings.Join(told(r.Paths), ","))
	})
}

// whoTable writes the history of a resource: a line for each field of a change.
func whoTable(w io.Writer, all []json.RawMessage) error {
	row(w, "TIME", "WHO", "WHAT", "BY", "FIELD", "BEFORE", "AFTER")
	return each(all, func(r change) {
		paths := told(r.Paths)
		if r.Verb != "UPDATED" || len(paths) == 0 {
			row(w, r.Time.Format(time.RFC3339Nano), r.Principal, r.Verb, by(r), "", whole(r.Previous), whole(r.Current))
			return
		}
		for i, p := range paths {
			if i == 0 {
				row(w, r.Time.Format(time.RFC3339Nano), r.Principal, r.Verb, by(r), p, at(r.Previous, p), at(r.Current, p))
				continue
			}
			_, _ = fmt.Fprintf(w, "\t\t\t\t%s\t%s\t%s\n", p, at(r.Previous, p), at(r.Current, p)) // a tabwriter reports it in Flush
		}
	})
}

// by is the method of a change, or why the platform did it.
func by(r change) string {
	if r.Reason != "" {
		return strings.TrimSpace(shortMethod(r.Method) + " (" + r.Reason + ")")
	}
	return shortMethod(r.Method)
}

// shortMethod is a method without its package.
func shortMethod(m string) string {
	if strings.Contains(m, "/") {
		return m
	}
	parts := strings.Split(m, ".")
	return strings.Join(parts[max(0, len(parts)-2):], ".")
}

// told are the paths that tell something: what every change changes does not,
// unless there is nothing else.
func told(paths []string) []string {
	var out []string
	for _, p := range paths {
		if p != "metadata.update_time" && p != "metadata.generation" {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return paths
	}
	return out
}

// maxCell bounds a value in a table.
const maxCell = 60

// whole is an object in a cell.
func whole(m map[string]any) string {
	if m == nil {
		return ""
	}
	return valueCell(m)
}

// at is the value at a path of an object, "" if it has none. What cannot be
// found by plain names is shown from the field above.
func at(m map[string]any, path string) string {
	var v any = m
	for _, name := range strings.Split(path, ".") {
		in, ok := v.(map[string]any)
		if !ok {
			break
		}
		next, there := in[camel(name)]
		if !there {
			if next, there = in[name]; !there {
				return ""
			}
		}
		v = next
	}
	return valueCell(v)
}

// camel is a name of a proto file as JSON has it.
func camel(name string) string {
	parts := strings.Split(name, "_")
	for i := 1; i < len(parts); i++ {
		if parts[i] != "" {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
	}
	return strings.Join(parts, "")
}

// valueCell is a value in a cell.
func valueCell(v any) string {
	text := fmt.Sprint(v)
	switch v.(type) {
	case map[string]any, []any:
		if b, err := json.Marshal(v); err == nil {
			text = string(b)
		}
	}
	if r := []rune(text); len(r) > maxCell {
		text = string(r[:maxCell]) + "…"
	}
	return text
}
