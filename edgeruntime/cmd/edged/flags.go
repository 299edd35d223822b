package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"selvedge.dev/edgeruntime"
)

// usageError is everything that is wrong with how edged was called.
type usageError []string

// Error gives every reason on a line of its own.
func (e usageError) Error() string { return strings.Join(e, "\n       ") }

// runFlags are the flags of the agent.
type runFlags struct {
	set    *flag.FlagSet
	config edgeruntime.Config
	// listen is where other programs on the device may post events, "" for
	// nowhere.
	listen        string
	help, version bool
}

// parseRun reads the flags of the agent. What a flag does not say comes from
// the environment.
func parseRun(args []string, env func(string) string) (*runFlags, error) {
	f := &runFlags{set: newFlagSet("edged")}
	c := &f.config
	f.set.StringVar(&c.URL, "url", "", "`URL` of the platform (SELVEDGE_URL)")
	f.set.StringVar(&c.Key, "key", "", "API `key`; better given by SELVEDGE_KEY or --key-file, since every user sees flags")
	f.set.StringVar(&c.KeyFile, "key-file", "", "`file` that holds the API key; it may be replaced while edged runs")
	f.set.StringVar(&c.Device, "device", "", "`name` of this device: projects/P/devices/D")
	f.set.StringVar(&c.Dir, "data", "", "`folder` of the queue")
	f.set.DurationVar(&c.Interval, "interval", edgeruntime.DefaultInterval, "`time` from one reading to the next")
	f.set.Int64Var(&c.MaxBytes, "max-bytes", edgeruntime.DefaultMaxBytes, "bound of the queue on disk, in `bytes`")
	f.set.StringVar(&f.listen, "listen", "", "take events of other programs at this loopback `address`, as 127.0.0.1:8070")
	f.set.BoolVar(&f.version, "version", false, "print the version and exit")
	f.set.BoolVar(&f.help, "help", false, "print this text and exit")
	if err := parse(f.set, args); err != nil {
		return nil, err
	}
	if err := checkLoopback(f.listen); err != nil {
		return nil, err
	}
	c.URL = cmp.Or(c.URL, env("SELVEDGE_URL"))
	if c.KeyFile == "" {
		c.Key = cmp.Or(c.Key, env("SELVEDGE_KEY"))
	}
	return f, nil
}

// usage writes what edged is and can be told.
func (f *runFlags) usage(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`edged reads this machine and sends its figures to a Selvedge platform, through
any outage: what cannot be sent waits on disk.

  edged --device projects/P/devices/D --data DIR
  edged status --data DIR [--json]

Flags:
`)
	f.set.VisitAll(func(fl *flag.Flag) {
		name, text := flag.UnquoteUsage(fl)
		fmt.Fprintf(&b, "  --%-18s %s", strings.TrimSpace(fl.Name+" "+name), text)
		if fl.DefValue != "" && fl.DefValue != "false" {
			fmt.Fprintf(&b, " (default %s)", fl.DefValue)
		}
		b.WriteByte('\n')
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// newFlagSet is an empty set that leaves reporting to its caller.
func newFlagSet(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return set
}

// parse parses args into set, which takes flags only.
func parse(set *flag.FlagSet, args []string) error {
	err := set.Parse(args)
	if err == nil && set.NArg() > 0 {
		err = errors.New("unexpected argument: " + set.Arg(0))
	}
	if err != nil {
		return usageError{err.Error()}
	}
	return nil
}
