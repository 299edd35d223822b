package command

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/sdk/client"
)

// imported is a line of the answer to an import.
type imported struct {
	Rows     int            `json:"rows"`
	Accepted int            `json:"accepted"`
	Refused  map[string]int `json:"refused,omitempty"`
	Bytes    int64          `json:"bytes"`
	Done     bool           `json:"done"`
	Examples []struct {
		Line    int    `json:"line"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"examples,omitempty"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// metricsImport is `selvedge metrics import`.
func (a *app) metricsImport() *cobra.Command {
	var format, precision, from string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Read points of any age from a file",
		Long: `Read points from a file, or from the standard input when FILE is "-": CSV or lines
of JSON as "selvedge metrics export" writes them, or Influx line protocol. Points
may be of any age that is kept. The same point twice counts once: an import that
was cut off can begin anew.`,
		Example: `  selvedge metrics export 'metric.type = starts_with("")' --since 9000h --file all.ndjson
  selvedge metrics import all.ndjson --url https://elsewhere.example.com`,
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			in, size := io.ReadCloser(os.Stdin), int64(0)
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				if info, err := file.Stat(); err == nil {
					size = info.Size()
				}
				in = file
			}
			defer func() { _ = in.Close() }() // it was read
			v := url.Values{"format": {cmp.Or(format, formatOf(args[0]))}}
			if precision != "" {
				v.Set("precision", precision)
			}
			if from != "" {
				v.Set("fromProject", from)
			}
			answer, err := a.unhurried().Stream(c.Context(), a.seriesPath(":import"), v, client.Body{Type: "application/octet-stream", In: in})
			if err != nil {
				return err
			}
			defer func() { _ = answer.Close() }() // it was read
			return a.followImport(answer, size)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "csv, ndjson or influx; by default what the file's name ends in, or else ndjson")
	cmd.Flags().StringVar(&precision, "precision", "", "the unit of times in Influx lines: ns, us, ms or s; ns by default")
	cmd.Flags().StringVar(&from, "from-project", "", "the project that the file is of, if it is another one")
	return cmd
}

// formatOf is the format that a file's name ends in.
func formatOf(file string) string {
	switch ext := strings.TrimPrefix(filepath.Ext(file), "."); ext {
	case "csv":
		return ext
	case "influx", "lp", "line", "txt":
		return "influx"
	}
	return "ndjson"
}

// maxProgress bounds a line of progress.
const maxProgress = 1 << 20

// followImport draws the progress of an import of size bytes, 0 if that is not
// known, and its result.
func (a *app) followImport(answer io.Reader, size int64) error {
	var last imported
	begin := time.Now()
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, maxProgress)
	for lines.Scan() {
		last = imported{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return fmt.Errorf("read the progress: %w", err)
		}
		if !last.Done && last.Error == nil {
			a.drawImport(last, size, time.Since(begin))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the progress: %w", err)
	}
	err := a.print(last, func(w io.Writer) {
		row(w, "ROWS", "ACCEPTED", "REFUSED", "BYTES", "TOOK")
		row(w, last.Rows, last.Accepted, total(last.Refused), last.Bytes, time.Since(begin).Round(time.Millisecond))
		if len(last.Refused) > 0 {
			row(w, "\nREASON", "ROWS", "")
			for _, reason := range slices.Sorted(maps.Keys(last.Refused)) {
				row(w, reason, last.Refused[reason], bar(last.Refused[reason], last.Rows))
			}
			row(w, "\nLINE", "REASON", "")
			for _, e := range last.Examples {
				row(w, e.Line, e.Reason, e.Message)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case last.Error != nil:
		return fmt.Errorf("the import ended early: %s; it can begin anew", last.Error.Message)
	case !last.Done:
		return errors.New("the import ended early, without a word; it can begin anew")
	}
	return nil
}

// total adds up counts.
func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// drawImport writes one line over the last one.
func (a *app) drawImport(p imported, size int64, took time.Duration) {
	part := ""
	if size > 0 {
		const width = 20 // of the drawing
		full := int(min(p.Bytes, size) * width / size)
		part = fmt.Sprintf("%s%s %3d %%  ", strings.Repeat("█", full), strings.Repeat("░", width-full), min(p.Bytes, size)*100/size)
	}
	rate := float64(p.Rows) / max(took.Seconds(), 1e-3)
	_, _ = fmt.Fprintf(a.errOut, "\r%s%d rows, %d accepted, %d refused, %.0f rows/s ", part, p.Rows, p.Accepted, total(p.Refused), rate) // progress only
	if p.Done {
		_, _ = fmt.Fprintln(a.errOut)
	}
}
