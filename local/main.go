// Command selvedge is the platform on one machine and the client for any:
// `selvedge up` runs it, the other subcommands speak to the one at
// SELVEDGE_URL as the holder of SELVEDGE_KEY.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/command"
)

// minProcs is how many threads run Go code at least. One that waits for the disk
// counts until the scheduler notices: on two processors, a platform that makes
// everything durable would leave half of them idle.
const minProcs = 4

// main runs the command line; SIGINT and SIGTERM end it in good order.
func main() {
	sandbox.Main()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(minProcs, runtime.GOMAXPROCS(0)))
	}
	if os.Getenv("GOGC") == "" {
		pace()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
