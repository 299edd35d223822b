// Command inventory serves the inventory as a process of its own, beside a
// platform that it registers itself with.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	inventory "selvedge.dev/functions/sample-inventory"
)

// main runs it until it is told to stop.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := inventory.Config{
		Key:    os.Getenv("INVENTORY_KEY"), // every user sees flags
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready:  func(url string) { fmt.Println("inventory listening on", url) },
	}
	flag.StringVar(&c.Platform, "platform", "http://127.0.0.1:8080", "`URL` of the platform; INVENTORY_KEY is the key of a service account there")
	flag.StringVar(&c.Listen, "listen", "127.0.0.1:8090", "`address` to listen at")
	flag.StringVar(&c.Endpoint, "endpoint", "", "`URL` that others reach it at, if not the address that it listens at")
	flag.StringVar(&c.Region, "region", "local", "`region` of the platform")
	flag.StringVar(&c.Data, "data", ".", "`folder` of the database")
	flag.Parse()
	if err := inventory.Serve(ctx, c); err != nil {
		c.Logger.Error("inventory ends", slog.Any("error", err))
		stop()
		os.Exit(1)
	}
}
