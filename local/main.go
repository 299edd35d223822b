// Command selvedge is the platform on one machine and the client for any:
// `selvedge up` runs it, the other subcommands speak to the one at
// SELVEDGE_URL as the holder of SELVEDGE_KEY.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"selvedge.dev/local/command"
)

// main runs the command line; SIGINT and SIGTERM end it in good order.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
