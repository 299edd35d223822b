package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// uintText is a number as text.
func uintText(n uint64) string { return strconv.FormatUint(n, 10) }

// trailFlags are the flags of commands about the trail.
type trailFlags struct {
	endpoint, keys, heads string
	platform              bool
}

// add adds those that all have.
func (f *trailFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.endpoint, "endpoint", "", "the URL of the S3 server, if it is not Amazon's")
	c.Flags().BoolVar(&f.platform, "platform", false, "what belongs to no project")
}

// projects are those that a command is about: all that are there unless one is
// named.
func (f *trailFlags) projects(c *cobra.Command, a *app, at chains) ([]string, error) {
	if _, one := at.(oneFile); one {
		return []string{""}, nil
	}
	switch {
	case f.platform:
		return []string{auditv1.Platform}, nil
	case c.Flags().Changed("project"):
		return []string{a.project}, nil
	}
	return at.Projects(c.Context())
}

// trusted are the keys that signatures are checked with.
func (f *trailFlags) trusted(ctx context.Context, a *app, at chains) (chain.Keys, error) {
	there, err := at.Keys(ctx)
	if f.keys == "" {
		if err == nil {
			_, err = fmt.Fprintln(a.errOut, "selvedge: the keys are those beside the records: --keys FILE with keys that were kept elsewhere proves more")
		}
		return there, err
	}
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return nil, err
	}
	kept, err := readKeys(f.keys)
	return kept.Extend(there), err
}

// kept are the heads of the file that was kept, by project.
func (f *trailFlags) kept() (map[string][]chain.Checkpoint, error) {
	heads := map[string][]chain.Checkpoint{}
	if f.heads == "" {
		return heads, nil
	}
	in, err := os.Open(f.heads)
	if err != nil {
		return nil, usageError{err}
	}
	all, err := chain.ReadNotes(in)
	for _, c := range all {
		heads[c.Project] = append(heads[c.Project], c)
	}
	return heads, errors.Join(err, in.Close())
}

// verdict is what was found of a chain.
type verdict struct {
	chain.Report
	Finding *chain.Finding `json:"finding,omitempty"`
}

// auditVerify is `selvedge audit verify`.
func (a *app) auditVerify() *cobra.Command {
	var f trailFlags
	c := &cobra.Command{
		Use: "verify [PLACE]", Short: "Verify that no audit record was altered, removed or put in",
		Long: `Verify the chains of the audit trail, here and not by the platform: every record,
its place, and every signature. PLACE is the folder of a platform's data, which
need not run; a folder or s3://BUCKET/PREFIX that was exported to; or one
exported file. Without it the records come from the platform.

The first record at fault is named, and the exit code is 1.

Whoever has the platform's disk and its signing key can make a chain anew, and
nothing in the chain tells where its end was cut off. So keep elsewhere what
` + "`selvedge audit head`" + ` prints, and the public keys: --head and --keys hold the
chain against them.`,
		Example: `  selvedge audit verify
  selvedge audit verify /var/lib/selvedge --head heads.txt --keys keys.json
  selvedge audit verify s3://acme-audit/plant-7`,
		Args: between("", "PLACE"),
		RunE: func(c *cobra.Command, args []string) error {
			place := ""
			if len(args) > 0 {
				place = args[0]
			}
			return a.verify(c, place, f)
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.keys, "keys", "", "a file of public keys to trust, instead of those that are there")
	c.Flags().StringVar(&f.heads, "head", "", "a file of heads that must be met")
	return c
}

// verify verifies the chains of a place and prints what was found.
func (a *app) verify(c *cobra.Command, place string, f trailFlags) error {
	at, err := a.place(c.Context(), place, f.endpoint)
	if err != nil {
		return err
	}
	keys, err := f.trusted(c.Context(), a, at)
	if err != nil {
		return fmt.Errorf("the public keys: %w", err)
	}
	heads, err := f.kept()
	if err != nil {
		return err
	}
	projects, err := f.projects(c, a, at)
	if err != nil {
		return err
	}
	_, part := at.(oneFile)
	if part && len(heads) > 0 {
		return usageError{errors.New("--head goes with whole chains, not with one file")}
	}
	_, running := at.(live)
	if !part && !running && !f.platform && !c.Flags().Changed("project") {
		for project := range heads { // A chain may be gone altogether.
			if !slices.Contains(projects, project) {
				projects = append(projects, project)
			}
		}
		slices.Sort(projects)
	}
	if len(projects) == 0 {
		return fmt.Errorf("there are no records in %s: nothing was verified", place)
	}
	var all []verdict
	var first error
	for _, project := range projects {
		r, err := chain.Verify(at.Read(c.Context(), project, 1), chain.VerifyOptions{Project: project, Keys: keys, Heads: heads[project], Partial: part})
		v := verdict{Report: r}
		if err != nil && !errors.As(err, &v.Finding) {
			return err
		}
		if first == nil {
			first = err
		}
		all = append(all, v)
	}
	return errors.Join(a.print(all, func(w io.Writer) { drawVerdicts(w, all) }), first)
}

// drawVerdicts writes a table of what was found.
func drawVerdicts(w io.Writer, all []verdict) {
	row(w, "PROJECT", "FIRST", "LAST", "ERASED", "CHECKPOINTS", "HEADS MET", "NOT SIGNED YET", "RESULT")
	for _, v := range all {
		result := "whole"
		if f := v.Finding; f != nil {
			result = fmt.Sprintf("record %d: %s", f.Seq, f.What)
		}
		row(w, v.Project, v.First, v.Last, v.Erased, v.Checkpoints, v.Heads, v.Unsigned, result)
	}
}
