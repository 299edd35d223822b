package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// print writes an answer as the user asked: the platform's own JSON, indented,
// or a table.
func (a *app) print(answer any, table func(w io.Writer)) error {
	if a.output == "json" {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(answer)
	}
	if a.output == "yaml" {
		text, err := yaml.Marshal(answer)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// row writes the cells of one line of a table. An empty cell shows as "-".
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		if text[i] = fmt.Sprint(c); text[i] == "" {
			text[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(w, strings.Join(text, "\t")) // a tabwriter reports it in Flush
}
