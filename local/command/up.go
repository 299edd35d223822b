package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/local/platform"
	"selvedge.dev/sdk/event"
)

// up is `selvedge up`.
func (a *app) up() *cobra.Command {
	c := platform.Config{}
	var verbose bool
	var peers, peerKeys []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the platform on this machine",
		Long: `Run the platform on this machine: one process, one data folder, one port.

$` + envAdminKey + ` sets the bootstrap administrator's API key. Without it one is
made the first time, printed once, and stored hashed.

Ctrl-C drains and loses nothing. An event that was answered with 2xx is kept
even if the process is killed.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (c.TLSCert == "") != (c.TLSKey == "") {
				return usageError{errors.New("--tls-cert and --tls-key go together")}
			}
			var err error
			if c.Peers, err = readPeers(peers, peerKeys); err != nil {
				return err
			}
			if c.MaxSeries <= 0 || c.QueryMemory <= 0 {
				return usageError{errors.New("--max-series and --query-memory are numbers above 0")}
			}
			if c.OwnerTimeout <= 0 || c.OwnerRecheck <= 0 {
				return usageError{errors.New("--owner-timeout and --owner-recheck are durations above 0, such as 5m")}
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			c.Logger = slog.New(slog.NewTextHandler(a.errOut, &slog.HandlerOptions{Level: level}))
			c.AdminKey = os.Getenv(envAdminKey)
			if c.Database == "" {
				c.Database = os.Getenv(envDatabase)
			}
			return a.runUp(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Data, "data", defaultData(), "the folder of all data")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "host and port to listen on; port 0 takes any that is free")
	f.StringVar(&c.TLSCert, "tls-cert", "", "PEM file with the certificate chain; the port then speaks TLS, with HTTP/2")
	f.StringVar(&c.TLSKey, "tls-key", "", "PEM file with the certificate's key")
	f.StringVar(&c.Region, "region", "local", "the region that this platform is")
	f.StringArrayVar(&peers, "peer", nil, "REGION=URL of the platform of another region; once for each")
	f.StringArrayVar(&peerKeys, "peer-key-file", nil, "REGION=FILE with an administrator's key there; once for each --peer")
	f.StringArrayVar(&c.RenewPeers, "renew-peer", nil, "REGION of a --peer that has another database since, on purpose; what it had is gone")
	f.StringArrayVar(&c.RenewServices, "renew-service", nil, "domain of a service that is not the platform's own and has another database since, on purpose; what it owned here is gone after --owner-timeout, unless it says that it owns it")
	f.StringVar(&c.Primary, "primary-region", "", "the region whose platform keeps the registry, this one or that of a --peer; by default the one that does, or else the first by name")
	f.DurationVar(&c.OwnerTimeout, "owner-timeout", 5*time.Minute, "how long the owner of a resource may be missing before it is gone")
	f.DurationVar(&c.OwnerRecheck, "owner-recheck", time.Hour, "how often owners in other regions are asked for without a reason to")
	f.StringVar(&c.Database, "database", "", "PostgreSQL connection string of the resources, postgres://…; also $"+envDatabase+"; by default they are in the data folder")
	f.StringVar(&c.Series, "series", "", "address of the VictoriaMetrics server of the points, http://HOST:8428, with a retention of 400 days, best with -dedup.minScrapeInterval=1ms, and for nobody else; by default they are in the data folder")
	f.StringVar(&c.Logs, "logs", "", "the ClickHouse server of the entries of logs, clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or http://…; by default they are in the data folder")
	f.StringVar(&c.SeriesCluster.Write, "series-write", "", "for a VictoriaMetrics cluster in place of --series: http://VMINSERT:8480/insert/ACCOUNT[:PROJECT]/prometheus")
	f.StringVar(&c.SeriesCluster.Read, "series-read", "", "where the cluster is read, http://VMSELECT:8481/select/ACCOUNT[:PROJECT]/prometheus")
	f.StringVar(&c.SeriesCluster.Delete, "series-delete", "", "where the cluster deletes; by default --series-read with /delete/ in place of /select/")
	f.StringArrayVar(&c.SeriesCluster.Nodes, "series-node", nil, "http://HOST:PORT of a vmstorage (8482) of the cluster, and of the vminsert (8480); once for each of them")
	f.IntVar(&c.MaxSeries, "max-series", 500_000, "how many series of a project may be active at once, unless an administrator bounds it otherwise")
	f.StringVar(&c.PublicURL, "public-url", "", "where people reach the platform, https://…, for sign-in; by default the address that it listens on")
	f.StringVar(&c.OIDC.Issuer, "oidc-issuer", "", "the OpenID Connect provider that people sign in at, https://…, at /v1/signin")
	f.StringVar(&c.OIDC.ClientID, "oidc-client-id", "", "what the provider calls this platform; it sends people back to PUBLIC-URL/v1/signin/callback")
	f.StringVar(&c.OIDC.SecretFile, "oidc-client-secret-file", "", "file with the secret of the client; a public client has none")
	f.Int64Var(&c.QueryMemory, "query-memory", 1<<30, "bytes of memory that queries of time series may have together; more of them wait, and are then told to come again")
	f.BoolVar(&c.Edge, "edge", false, "also run the edge runtime of this machine")
	f.StringVar(&c.FunctionsDomain, "functions-domain", "", "have functions be hosts, NAME.PROJECT.`DOMAIN`, instead of paths below /functions/")
	f.BoolVar(&c.ClosedFunctions, "closed-functions", false, "ask for a permission to call a function also on this machine, where func sends none")
	f.StringVar(&c.Runner, "runner", "process", "what runs functions: process, or containerd[=`SOCKET`]")
	f.StringVar(&c.RunnerNetwork, "runner-network", "", "file of a CNI configuration, /etc/cni/net.d/NAME.conflist, by which containers have networks of their own; by default they are in the machine's")
	f.BoolVar(&c.LocalSubscribers, "local-subscribers", false, "let triggers deliver to URLs on this machine and its link")
	f.Int64Var(&c.Limits.Body, "max-body", event.DefaultBodyLimit, "bytes that one request to /v1/events may have")
	f.IntVar(&c.Limits.Event, "max-event", event.DefaultEventLimit, "bytes that one event may have")
	f.Int64Var(&c.JournalBytes, "max-backlog", 4<<30, "bytes of events that may wait for delivery on disk before senders are told to wait")
	f.BoolVarP(&verbose, "verbose", "v", false, "log what goes on, not only what goes wrong")
	return cmd
}

// readPeers reads the flags about peers, which go in pairs.
func readPeers(peers, keys []string) (map[string]platform.Peer, error) {
	out := map[string]platform.Peer{}
	read := func(flag string, values []string, set func(p *platform.Peer, value string) bool) error {
		for _, v := range values {
			region, value, ok := strings.Cut(v, "=")
			if !ok || region == "" || value == "" {
				return usageError{fmt.Errorf("--%s %q: want REGION=…, such as eu=…", flag, v)}
			}
			p := out[region]
			if !set(&p, value) {
				return usageError{fmt.Errorf("--%s %s=… is there twice", flag, region)}
			}
			out[region] = p
		}
		return nil
	}
	err := errors.Join(
		read("peer", peers, func(p *platform.Peer, v string) bool { ok := p.URL == ""; p.URL = v; return ok }),
		read("peer-key-file", keys, func(p *platform.Peer, v string) bool { ok := p.KeyFile == ""; p.KeyFile = v; return ok }),
	)
	if err != nil {
		return nil, err
	}
	for region, p := range out {
		if p.URL == "" || p.KeyFile == "" {
			return nil, usageError{fmt.Errorf("--peer %s=URL and --peer-key-file %s=FILE go together", region, region)}
		}
	}
	return out, nil
}

// defaultData is the data folder by the XDG base directory specification.
func defaultData() string {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "selvedge-data"
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "selvedge")
}

// runUp opens the platform, tells what there is, and runs it until ctx ends.
func (a *app) runUp(ctx context.Context, c platform.Config) (err error) {
	begin := time.Now()
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return err
	}
	p, err := platform.Open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if tcp, ok := p.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && c.TLSCert == "" {
		c.Logger.Warn("the port is reachable from elsewhere and speaks plain HTTP: use --tls-cert and --tls-key, or put a TLS proxy before it", slog.String("address", tcp.String()))
	}
	a.welcome(p, c, time.Since(begin))
	if err := p.Run(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, "\nStopped. Everything is on disk.")
	return err
}

// welcome tells what listens, with what credentials, and what to try.
func (a *app) welcome(p *platform.Platform, c platform.Config, took time.Duration) {
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(a.out, format+"\n", args...) // the platform runs also if nobody reads
	}
	say("Selvedge is ready after %d ms.\n", took.Milliseconds())
	say("  listening on  %s", p.URL())
	say("  data in       %s", c.Data)
	key := p.MadeKey()
	switch {
	case key != "":
		say("  admin key     %s   (made now, stored hashed, not shown again)", key)
	case c.AdminKey != "":
		say("  admin key     the one in $%s", envAdminKey)
		key = "$" + envAdminKey
	default:
		say("  admin key     made at the first start; set $%s and restart to replace it", envAdminKey)
		key = "YOUR-KEY"
	}
	if c.Edge {
		say("  this machine  %s, a reading every 5 s", p.EdgeDevice())
	}
	self := os.Args[0]
	say("\nTry, in another terminal:\n")
	say("  export %s=%s %s=%s", envURL, p.URL(), envKey, key)
	say("  %s metrics list", self)
	say("  %s metrics query 'metric.type = \"%s/cpu/utilization\"' --align mean --period 10s", self, event.TypeHost)
	say("\nCtrl-C stops it and loses nothing.")
}
