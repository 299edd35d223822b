// Command edged is the edge runtime of a device: it reads the machine that it
// runs on, keeps every reading on disk until the platform has it, and tells how
// it does.
//
//	edged --device projects/P/devices/D --data DIR    run the agent
//	edged status --data DIR [--json]                  ask how it does
//
// The platform's address and the API key come from SELVEDGE_URL and
// SELVEDGE_KEY, or from flags; a key in a flag can be read by every user of the
// machine. The agent stops on SIGINT and SIGTERM. It exits with 0 after an
// orderly stop, 2 when it was called wrongly, and 1 after any other failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"selvedge.dev/edgeruntime"
	"selvedge.dev/edgeruntime/host"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/sdk/fault"
)

// gcPercent makes the collector begin at 1 MB of heap instead of 4. What lives
// is less than that, and an agent that works once in seconds has the time.
const gcPercent = 25

func main() {
	sandbox.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Whoever signals twice does not want to wait for the last flush.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	p := program{env: os.Getenv, out: os.Stdout, err: os.Stderr}
	os.Exit(p.main(ctx, os.Args[1:]))
}

// program is what edged has of its surroundings.
type program struct {
	env      func(string) string
	out, err io.Writer
}

// The exit codes.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// main runs the command that args name and returns the exit code.
func (p program) main(ctx context.Context, args []string) int {
	err := p.dispatch(ctx, args)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(p.err, "edged: %v\nTry: edged --help\n", err)
		return exitUsage
	}
	fmt.Fprintf(p.err, "edged: %v\n", err)
	return exitFailure
}

// dispatch runs the command that args name.
func (p program) dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "status" {
		return p.status(ctx, args[1:])
	}
	f, err := parseRun(args, p.env)
	switch {
	case err != nil:
		return err
	case f.help:
		return f.usage(p.out)
	case f.version:
		_, err := fmt.Fprintln(p.out, "edged", version())
		return err
	}
	return p.run(ctx, f)
}

// run runs the agent until ctx is done.
func (p program) run(ctx context.Context, f *runFlags) error {
	c := f.config
	c.Sensor = host.New()
	c.Logger = slog.New(slog.NewTextHandler(p.err, nil))
	agent, err := edgeruntime.New(c)
	if err != nil {
		return asUsage(err)
	}
	doors, err := openDoors(c.Dir, f.listen, agent)
	if err != nil {
		return errors.Join(err, agent.Close())
	}
	c.Logger.Info("edge runtime started", slog.String("version", version()),
		slog.String("device", c.Device), slog.String("url", c.URL), slog.Any("doors", doors))
	err = agent.Run(ctx)
	for _, d := range doors {
		err = errors.Join(err, d.close())
	}
	c.Logger.Info("edge runtime stopped")
	return err
}

// openDoors opens the agent's status socket, and its ingress at the address
// listen unless that is "".
func openDoors(dir, listen string, agent *edgeruntime.Agent) ([]*service, error) {
	status, err := openStatus(dir, agent.Status)
	if err != nil {
		return nil, err
	}
	doors := []*service{status}
	if listen != "" {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open ingress: %w", err), status.close())
		}
		doors = append(doors, serve(l, agent.Ingress(), ingressTimeout))
	}
	return doors, nil
}

// asUsage makes faults in a Config speak of the flags that set it.
func asUsage(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var all usageError
	for _, e := range joined.Unwrap() {
		var f *fault.Error
		if !errors.As(e, &f) || f.Kind != fault.Invalid || f.Field == "" {
			return err
		}
		all = append(all, fmt.Sprintf("--%s: %s", f.Field, f.Message()))
	}
	return all
}

// version is the version of the module and of the source that it was built of.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v
}
