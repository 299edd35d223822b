package command

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
)

// logEntry is an entry of a log as the platform shows it, in the shape of
// google.logging.v2.LogEntry. Raw is all of it.
type logEntry struct {
	LogName      string            `json:"logName"`
	InsertID     string            `json:"insertId"`
	Timestamp    time.Time         `json:"timestamp"`
	Severity     severity          `json:"severity"`
	Resource     labelled          `json:"resource"`
	Labels       map[string]string `json:"labels"`
	TextPayload  string            `json:"textPayload"`
	JSONPayload  json.RawMessage   `json:"jsonPayload"`
	ProtoPayload json.RawMessage   `json:"protoPayload"`
	raw          json.RawMessage
}

// severity is the name of a severity, or its number.
type severity string

// UnmarshalJSON implements json.Unmarshaler.
func (s *severity) UnmarshalJSON(text []byte) error {
	*s = severity(strings.Trim(string(text), `"`))
	return nil
}

// readEntries reads entries and keeps what each of them was.
func readEntries(all []json.RawMessage) ([]logEntry, error) {
	out := make([]logEntry, len(all))
	for i, raw := range all {
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, fmt.Errorf("an entry of the answer: %w", err)
		}
		out[i].raw = raw
	}
	return out, nil
}

// about is which entries a command is about.
type about struct {
	bucket string
	since  time.Duration
}

// flags adds the flags.
func (w *about) flags(cmd *cobra.Command, since time.Duration) {
	cmd.Flags().StringVar(&w.bucket, "bucket", "", "the bucket to look in; by default all that you may read")
	cmd.Flags().DurationVar(&w.since, "since", since, "how far back to look; 0 is from the beginning")
}

// names are the resource names.
func (w *about) names(project string) []string {
	name := "projects/" + project
	if w.bucket != "" {
		name += "/locations/global/buckets/" + w.bucket + "/views/_AllLogs"
	}
	return []string{name}
}

// filter is the filter of the arguments, bounded in time.
func (w *about) filter(args []string) string {
	var terms []string
	if len(args) > 0 && strings.TrimSpace(args[0]) != "" {
		terms = append(terms, "("+args[0]+"\n)") // a comment ends with its line
	}
	if w.since > 0 {
		terms = append(terms, fmt.Sprintf("timestamp >= %q", time.Now().UTC().Add(-w.since).Format(time.RFC3339Nano)))
	}
	return strings.Join(terms, " AND ")
}

// logs is `selvedge logs`.
func (a *app) logs() *cobra.Command {
	return group("logs", "Entries of the logs of a project", a.logsQuery(), a.logsTail(), a.logsCount(), a.logsWrite(), a.logsList(), a.logsDelete())
}

// atMostOne is cobra.MaximumNArgs(1) with an error as of the others.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%q is one argument too many; see `%s --help`", args[1], c.CommandPath())}
	}
	return nil
}

// maxEntriesPage is the most entries of a page.
const maxEntriesPage = 1000

// newest are the newest entries, the oldest of them first.
func (a *app) newest(ctx context.Context, w *about, filter string, limit int) ([]logEntry, error) {
	var all []json.RawMessage
	for token := ""; len(all) < limit; {
		var page struct {
			Entries       []json.RawMessage `json:"entries"`
			NextPageToken string            `json:"nextPageToken"`
		}
		err := a.client().Call(ctx, http.MethodPost, "/v2/entries:list", nil, map[string]any{
			"resourceNames": w.names(a.project), "filter": filter, "orderBy": "timestamp desc", "pageSize": min(limit-len(all), maxEntriesPage), "pageToken": token,
		}, &page)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Entries...)
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	slices.Reverse(all)
	return readEntries(all)
}

// logsQuery is `selvedge logs query`.
func (a *app) logsQuery() *cobra.Command {
	var w about
	var limit int
	cmd := &cobra.Command{
		Use:   "query [FILTER]",
		Short: "Show the newest entries that match a filter of the logging query language",
		Example: `  selvedge logs query 'severity >= WARNING AND resource.labels.device_id = "press"' --since 24h
  selvedge logs query 'jsonPayload.user.name : "ann"' --limit 1000 -o json`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError{errors.New("--limit is 1 or more")}
			}
			found, err := a.newest(c.Context(), &w, w.filter(args), limit)
			if err != nil {
				return err
			}
			raw := make([]json.RawMessage, len(found))
			for i := range found {
				raw[i] = found[i].raw
			}
			if a.output != "table" {
				return a.print(raw, nil)
			}
			if len(found) == 0 {
				_, err = fmt.Fprintln(a.errOut, "no entry matches")
				return err
			}
			return newPrinter(a.out).all(found)
		},
	}
	w.flags(cmd, time.Hour)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many entries at most")
	return cmd
}

// logsTail is `selvedge logs tail`.
func (a *app) logsTail() *cobra.Command {
	var w about
	var limit int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail [FILTER]",
		Short: "Show the last entries that match a filter, and those that come",
		Long: `Show the last entries that match a filter, and then those that come, until
interrupted. With -o json each entry is a line.`,
		Example: `  selvedge logs tail
  selvedge logs tail 'severity >= ERROR' --limit 0`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if a.output == "yaml" {
				return usageError{errors.New("--output of what goes on is table or json")}
			}
			p := newPrinter(a.out)
			p.json = a.output == "json"
			if !follow {
				found, err := a.newest(c.Context(), &w, w.filter(args), limit)
				return errors.Join(err, p.all(found))
			}
			return a.followLogs(c.Context(), &w, args, limit, p)
		},
	}
	w.flags(cmd, time.Hour)
	cmd.Flags().IntVar(&limit, "limit", 10, "how many entries that are there already")
	cmd.Flags().BoolVarP(&follow, "follow", "f", true, "go on with the entries that come")
	return cmd
}

// followLogs prints the last entries and then those that come: it listens before it
// looks, so that none is missed between, and shows none twice.
func (a *app) followLogs(ctx context.Context, w *about, args []string, limit int, p *printer) error {
	filter := ""
	if len(args) > 0 {
		filter = args[0]
	}
	body, err := json.Marshal(map[string]any{"resourceNames": w.names(a.project), "filter": filter})
	if err != nil {
		return err
	}
	patient := &client.Client{URL: a.url, Key: a.key, HTTP: &http.Client{}} // an answer without an end has no time
	stream, err := patient.Stream(ctx, "/v2/entries:tail", nil, client.Body{Type: "application/json", In: bytes.NewReader(body)})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // what it had was read
	shown := map[string]bool{}
	if limit > 0 {
		found, err := a.newest(ctx, w, w.filter(args), limit)
		if err != nil {
			return err
		}
		for _, e := range found {
			shown[e.Timestamp.String()+" "+e.InsertID+" "+e.LogName] = true
		}
		if err := p.all(found); err != nil {
			return err
		}
	}
	in := json.NewDecoder(bufio.NewReader(stream))
	if _, err := in.Token(); err != nil {
		return fmt.Errorf("read the entries that come: %w", err)
	}
	for in.More() {
		var answer struct {
			Entries         []json.RawMessage `json:"entries"`
			SuppressionInfo []struct {
				SuppressedCount int `json:"suppressedCount"`
			} `json:"suppressionInfo"`
			Error *json.RawMessage `json:"error"`
		}
		var raw json.RawMessage
		err := in.Decode(&raw)
		if err == nil {
			err = json.Unmarshal(raw, &answer)
		}
		if err != nil {
			return endOf(ctx, err)
		}
		if answer.Error != nil {
			return fault.Parse("POST /v2/entries:tail", http.StatusServiceUnavailable, raw)
		}
		found, err := readEntries(answer.Entries)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(e logEntry) bool { return shown[e.Timestamp.String()+" "+e.InsertID+" "+e.LogName] })
		if err := p.all(found); err != nil {
			return err
		}
		for _, s := range answer.SuppressionInfo {
			_, _ = fmt.Fprintf(a.errOut, "%d entries were left out: they came faster than they could be shown\n", s.SuppressedCount) // nowhere else to say it
		}
	}
	return endOf(ctx, nil)
}

// endOf is the error that a stream ended with: none if the user ended it.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// logsWrite is `selvedge logs write`.
func (a *app) logsWrite() *cobra.Command {
	var labels []string
	var level, bucket string
	var isJSON bool
	cmd := &cobra.Command{
		Use:   "write LOG TEXT",
		Short: "Write an entry to a log, or each line of the standard input",
		Example: `  selvedge logs write press.example.com/shift 'night shift begins' --severity NOTICE --label line=left
  tail -F app.json | selvedge logs write app - --json`,
		Args: exactly("LOG", "TEXT"),
		RunE: func(c *cobra.Command, args []string) error {
			of := map[string]string{}
			for _, l := range labels {
				k, v, ok := strings.Cut(l, "=")
				if !ok {
					return usageError{fmt.Errorf("--label is NAME=VALUE, not %q", l)}
				}
				of[k] = v
			}
			write := func(lines []string) error {
				entries := make([]map[string]any, len(lines))
				for i, line := range lines {
					entries[i] = map[string]any{"severity": strings.ToUpper(level), "timestamp": time.Now().UTC()}
					if isJSON {
						entries[i]["jsonPayload"] = json.RawMessage(line)
					} else {
						entries[i]["textPayload"] = line
					}
				}
				query := url.Values{}
				if bucket != "" {
					query.Set("bucket", bucket)
				}
				return a.client().Call(c.Context(), http.MethodPost, "/v2/entries:write", query, map[string]any{
					"logName": "projects/" + a.project + "/logs/" + url.PathEscape(args[0]), "labels": of, "entries": entries, "partialSuccess": true,
				}, nil)
			}
			if args[1] != "-" {
				if isJSON && !json.Valid([]byte(args[1])) {
					return usageError{errors.New("TEXT is not JSON")}
				}
				return write([]string{args[1]})
			}
			return eachLine(os.Stdin, write)
		},
	}
	f := cmd.Flags()
	f.StringVar(&level, "severity", "DEFAULT", "DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT or EMERGENCY")
	f.StringArrayVar(&labels, "label", nil, "a label of the entry, NAME=VALUE; as often as needed")
	f.StringVar(&bucket, "bucket", "", "the bucket to write to; by default the one that is yours")
	f.BoolVar(&isJSON, "json", false, "the text is a JSON object")
	return cmd
}

// maxLine bounds a line that becomes an entry, and linesAtOnce how many are
// written together.
const (
	maxLine     = 1 << 20
	linesAtOnce = 500
)

// eachLine hands on lines as they come: several at once if they come fast.
func eachLine(in io.Reader, write func(lines []string) error) error {
	lines := make(chan string, linesAtOnce)
	var failed error
	go func() {
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			if strings.TrimSpace(s.Text()) != "" {
				lines <- s.Text()
			}
		}
		failed = s.Err()
	}()
	for line := range lines {
		batch := []string{line}
		for len(batch) < linesAtOnce && len(lines) > 0 {
			batch = append(batch, <-lines)
		}
		if err := write(batch); err != nil {
			return err
		}
	}
	return failed
}

// logsList is `selvedge logs list`.
func (a *app) logsList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the logs of a project", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := pages[string](c.Context(), a.client(), "/v2/projects/"+a.project+"/logs", "logNames", nil)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				row(w, "LOG")
				for _, name := range all {
					row(w, logID(name))
				}
			})
		},
	}
}

// logID is the id in the name of a log.
func logID(name string) string {
	_, id, _ := strings.Cut(name, "/logs/")
	plain, err := url.PathUnescape(id)
	if err != nil {
		return id
	}
	return cmp.Or(plain, name)
}

// logsDelete is `selvedge logs delete`.
func (a *app) logsDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete LOG", Short: "Delete the entries of a log", Args: exactly("LOG"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.client().Call(c.Context(), http.MethodDelete, "/v2/projects/"+a.project+"/logs/"+url.PathEscape(args[0]), nil, nil, nil)
		},
	}
}
