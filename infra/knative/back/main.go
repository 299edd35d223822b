// Command back is the way from a Knative broker back to the platform: triggers
// deliver to it what functions replied, and it posts that to the platform with the
// key of the project, which triggers have no means to send.
//
//	POST /readings   to the platform's /v1/events: readings of devices, which are
//	                 resolved, routed and stored as if the device had sent them
//	POST /events     to the default broker of the project, for its triggers: alerts,
//	                 timers, e-mails, whatever else
//	POST /dead-letters
//	                 to its broker of that name: what the cluster's broker gave up
//	POST /given-up   to nobody: the platform's trigger of that broker asks here, and is
//	                 told what the function answered, which makes a dead letter of it
//
// It keeps nothing: its answer is the platform's, and what that refuses is retried
// or dead-lettered by the trigger. It asks nobody who he is, so that a network
// policy must let only the broker come to it.
//
// SELVEDGE_URL is the platform, PROJECT the project, SELVEDGE_KEY_FILE a file with
// the key, which may be replaced while it runs, and PORT where it listens.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.LogAttrs(ctx, slog.LevelError, "the way back ended", slog.Any("error", err))
		os.Exit(1)
	}
}

// grace is how long what is under way may take after a signal to stop.
const grace = 20 * time.Second

// run serves until ctx ends.
func run(ctx context.Context, log *slog.Logger) error {
	platform, err := url.Parse(os.Getenv("SELVEDGE_URL"))
	if err != nil || platform.Host == "" {
		return fmt.Errorf("SELVEDGE_URL is %q, not the URL of a platform", os.Getenv("SELVEDGE_URL"))
	}
	b := &back{platform: platform, project: os.Getenv("PROJECT"), keyFile: os.Getenv("SELVEDGE_KEY_FILE")}
	if b.project == "" || b.keyFile == "" {
		return errors.New("PROJECT and SELVEDGE_KEY_FILE must be set")
	}
	if _, err := b.key(); err != nil {
		return err
	}
	server := &http.Server{
		Addr: net.JoinHostPort("", cmp.Or(os.Getenv("PORT"), "8080")), Handler: b.handler(),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 3 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return server.Shutdown(ctx)
}
