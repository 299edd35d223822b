// Package command is the command line of selvedge. One file holds one noun and
// its verbs; every verb but up is a call to the platform's REST doors, so the
// command line can do nothing that a client cannot.
//
// Settings come from flags, then the environment. A key is never a flag: other
// users of a machine can read command lines.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// The environment of the command line.
const (
	envURL      = "SELVEDGE_URL"
	envKey      = "SELVEDGE_KEY"
	envAdminKey = "SELVEDGE_ADMIN_KEY"
	envDatabase = "SELVEDGE_DATABASE"
)

// defaultURL is where `selvedge up` listens unless told otherwise.
const defaultURL = "http://127.0.0.1:8080"

// callTimeout bounds one call to the platform.
const callTimeout = 60 * time.Second

// app is what the commands share.
type app struct {
	out, errOut io.Writer
	url, output string
	project     string
	region      string
	context     string
	key         string
}

// Main runs the command line and returns its exit code: 0, 1 for a failure, 2
// for a wrong use.
func Main(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, errOut: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		a.complain(err)
		return 2
	}
	a.complain(err)
	return 1
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// complain writes err for a person, with its reason for search engines.
func (a *app) complain(err error) {
	var f *fault.Error
	text := err.Error()
	if errors.As(err, &f) {
		text = fmt.Sprintf("%s (%s)", f.Message(), fault.ReasonOf(err))
		if fault.KindOf(err) == fault.Unauthenticated && a.key == "" {
			text += ": set $" + envKey
		}
		if fault.ReasonOf(err) == "NO_ANSWER" {
			text = fmt.Sprintf("no answer from %s: is `selvedge up` running there? (%v)", a.url, f.Err)
		}
	}
	_, _ = fmt.Fprintln(a.errOut, "selvedge:", text) // nowhere else to complain
}

// root is the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "selvedge",
		Short: "An edge and IoT platform: events in, functions, aligned series out",
		Long: `Selvedge takes CloudEvents from devices, routes them to functions, keeps their
readings as time series and answers queries of aligned metrics over HTTP.

  selvedge up            run the platform on this machine
  selvedge create ...    register devices, and make anything else
  selvedge events ...    post events, read stored ones
  selvedge metrics ...   query time series
  selvedge logs ...      query, count and follow the entries of logs

Commands other than up speak to the platform at $` + envURL + ` (default
` + defaultURL + `) as the holder of $` + envKey + `, or to that of a context.`,
		Version: version(),
		Args:    noCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := a.settle(c); err != nil {
				return err
			}
			return a.check()
		},
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVar(&a.url, "url", defaultURL, "where the platform is; also $"+envURL)
	f.StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	f.StringVarP(&a.project, "project", "p", "default", "the project to speak of, where a command has no full name")
	f.StringVar(&a.region, "region", "", "the region to speak of, for resources that are in one")
	f.StringVar(&a.context, "context", "", "the context to work with, instead of the current one and the environment")
	root.AddCommand(a.up(), a.iam(), a.keys(), a.devices(), a.events(), a.metrics(), a.logs(), a.audit(), a.losses(), a.status(), a.contexts(), a.kubeconfig(),
		a.get(), a.list(), a.watch(), a.create(), a.update(), a.remove(), a.apply(), a.diff(), a.export())
	return root
}

// version is the module's version, as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// client calls the platform.
func (a *app) client() *client.Client {
	return &client.Client{URL: a.url, Key: a.key, HTTP: &http.Client{Timeout: callTimeout}}
}

// exactly is cobra.ExactArgs with an error that says what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usageError{fmt.Errorf("%s is missing; see `%s --help`", names[len(args)], c.CommandPath())}
		}
		if len(args) > len(names) {
			return usageError{fmt.Errorf("%q is one argument too many; see `%s --help`", args[len(names)], c.CommandPath())}
		}
		return nil
	}
}

// atLeast is cobra.MinimumNArgs(1) with an error that says what is missing.
func atLeast(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s is missing; see `%s --help`", name, c.CommandPath())}
		}
		return nil
	}
}

// noCommand refuses the arguments of a command that only holds others: they
// would be the name of one that there is not.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q; see `%s --help`", args[0], c.CommandPath())}
	}
	return nil
}

// check refuses flags that no command can work with.
func (a *app) check() error {
	if a.output != "table" && a.output != "json" && a.output != "yaml" {
		return usageError{fmt.Errorf("--output is table, json or yaml, not %q", a.output)}
	}
	if _, err := resource.Project.Parse("projects/" + a.project); err != nil {
		return usageError{fmt.Errorf("--project: %w", err)}
	}
	return nil
}

// group is a command that only holds others; called alone it shows its help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}
