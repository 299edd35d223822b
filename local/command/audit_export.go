package command

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"selvedge.dev/logstore/audit/archive"
	"selvedge.dev/logstore/audit/archive/s3"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// auditExport is `selvedge audit export`.
func (a *app) auditExport() *cobra.Command {
	var f trailFlags
	var data string
	c := &cobra.Command{
		Use: "export TARGET", Short: "Copy audit records to a folder or to S3, in files that verify by themselves",
		Long: `Copy what is new of the audit trail to a folder or to s3://BUCKET/PREFIX, up to
the last checkpoint, and verify it on the way. Files are never changed: an export
that was cut off is run again, and one with nothing to do does nothing, so run it
by the clock. selvedge audit verify TARGET verifies the files; so can programs of
others, by docs/audit-format.md.

Credentials for S3 are found as all tools of AWS find them.`,
		Example: `  selvedge audit export s3://acme-audit/plant-7
  selvedge audit export /mnt/worm/audit --data /var/lib/selvedge`,
		Args: exactly("TARGET"),
		RunE: func(c *cobra.Command, args []string) error { return a.exportTrail(c, args[0], data, f) },
	}
	f.add(c)
	c.Flags().StringVar(&data, "data", "", "the folder of a platform's data, instead of the running platform")
	return c
}

// exportTrail exports the chains of the platform, or of its files in data.
func (a *app) exportTrail(c *cobra.Command, to, data string, f trailFlags) error {
	from, err := a.place(c.Context(), data, "")
	if err != nil {
		return err
	}
	var target archive.Target = archive.Folder(to)
	if strings.Contains(to, "://") {
		if target, err = s3.Open(c.Context(), to, f.endpoint); err != nil {
			return usageError{err}
		}
	}
	keys, err := from.Keys(c.Context())
	if err != nil {
		return fmt.Errorf("the public keys: %w", err)
	}
	projects, err := f.projects(c, a, from)
	if err != nil {
		return err
	}
	var all []archive.Progress
	for _, project := range projects {
		p, err := archive.Export(c.Context(), from, target, project, archive.Options{Keys: keys, Progress: func(p archive.Progress) {
			_, _ = fmt.Fprintf(a.errOut, "%s: %d records, %d new files, %d bytes\n", p.Project, p.Records, p.Files, p.Bytes) // only to look at
		}})
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	return a.print(all, func(w io.Writer) {
		row(w, "PROJECT", "RECORDS", "NEW FILES", "BYTES")
		for _, p := range all {
			row(w, p.Project, p.Records, p.Files, p.Bytes)
		}
	})
}

// auditHead is `selvedge audit head`.
func (a *app) auditHead() *cobra.Command {
	var f trailFlags
	c := &cobra.Command{
		Use: "head [PLACE]", Short: "The last checkpoint of the audit trail, to be kept elsewhere",
		Long: `Print the last checkpoint of the audit trail: how many records there are and a
hash of them all, signed. The platform signs one for that; in files (PLACE, as of
selvedge audit verify) it is the last one there. Keep it where the platform cannot
change it: selvedge audit verify --head holds the trail against it.`,
		Example: "  selvedge audit head >> heads.txt",
		Args:    between("", "PLACE"),
		RunE: func(c *cobra.Command, args []string) error {
			place := ""
			if len(args) > 0 {
				place = args[0]
			}
			at, err := a.place(c.Context(), place, f.endpoint)
			if err != nil {
				return err
			}
			projects, err := f.projects(c, a, at)
			if err != nil {
				return err
			}
			return a.heads(c, at, projects)
		},
	}
	f.add(c)
	return c
}

// heads prints the last checkpoints of chains.
func (a *app) heads(c *cobra.Command, at chains, projects []string) error {
	for _, project := range projects {
		note := ""
		if l, running := at.(live); running {
			text, err := l.text(c.Context(), l.path(project, ":head"))
			if err != nil {
				return err
			}
			note = string(text)
		} else {
			for i, err := range at.Read(c.Context(), project, 1) {
				var found *chain.Finding
				if errors.As(err, &found) && note != "" {
					break // The last one before the damage is one, too.
				}
				if err != nil {
					return err
				}
				if i.Checkpoint != nil {
					note = i.Checkpoint.Note()
				}
			}
		}
		if note == "" {
			return &fault.Error{Op: "audit.Head", Name: project, Kind: fault.NotFound, Reason: "AUDIT_NO_CHECKPOINT", Err: fmt.Errorf("project %s has no checkpoint", project)}
		}
		if _, err := fmt.Fprintln(a.out, note); err != nil {
			return err
		}
	}
	return nil
}
