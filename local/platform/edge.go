package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"selvedge.dev/edgeruntime"
	"selvedge.dev/edgeruntime/host"
	"selvedge.dev/functions/ingest"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
)

// EdgeDevice is the name of the device that this machine is: its host name in
// the default project.
func (p *Platform) EdgeDevice() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	id := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, host), "-.")
	if id == "" {
		id = "this-machine"
	}
	return "projects/" + ingest.DefaultProject + "/devices/" + id[:min(len(id), 63)]
}

// runEdge runs the edge runtime of this machine against the platform's own
// port, as any device does: registered, with a device's key.
func (p *Platform) runEdge(ctx context.Context) error {
	name := p.EdgeDevice()
	if err := p.registry.Register(ctx, resource.Name(name)); err != nil {
		return fmt.Errorf("edge runtime: register %s: %w", name, err)
	}
	dir := filepath.Join(p.config.Data, "edge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("edge runtime: %w", err)
	}
	keyFile, err := p.edgeKey(ctx, dir, name)
	if err != nil {
		return fmt.Errorf("edge runtime: %w", err)
	}
	agent, err := edgeruntime.New(edgeruntime.Config{
		URL: p.insideURL(), KeyFile: keyFile, Device: name, Dir: filepath.Join(dir, "queue"), Sensor: host.New(), Logger: p.log,
	})
	if err != nil {
		return fmt.Errorf("edge runtime: %w", err)
	}
	if err := agent.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("edge runtime: %w", err)
	}
	return nil
}

// edgeKey is the file with this machine's key. It holds the only copy of the
// secret, readable by its owner, as on any device; when it is gone or no
// longer works a new key is made and the former ones are revoked.
func (p *Platform) edgeKey(ctx context.Context, dir, name string) (string, error) {
	path := filepath.Join(dir, "key")
	old, err := os.ReadFile(path)
	if err == nil {
		if who, err := p.keyring.Authenticate(ctx, "Bearer "+strings.TrimSpace(string(old))); err == nil && who.Name == name {
			return path, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	who, err := iam.ParsePrincipal(name)
	if err != nil {
		return "", err
	}
	if err := p.keyring.RevokeAll(ctx, name); err != nil {
		return "", err
	}
	key, _, err := p.keyring.Make(ctx, who, "edge runtime of this machine", time.Time{})
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(key+"\n"), 0o600)
}
