package command

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"selvedge.dev/functions/audit"
	auditv1 "selvedge.dev/functions/audit/v1"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/archive"
	"selvedge.dev/logstore/audit/archive/s3"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
)

// chains are chains of the audit trail somewhere: on the platform, in its
// files, or in an archive.
type chains interface {
	archive.Source
	// Projects are those that have chains there.
	Projects(ctx context.Context) ([]string, error)
	// Keys are the public keys that are there.
	Keys(ctx context.Context) (chain.Keys, error)
}

// place finds the chains of a place: "" is the platform, s3://BUCKET/PREFIX a
// bucket, a folder the platform's data or an archive, a file one of an archive.
func (a *app) place(ctx context.Context, place, endpoint string) (chains, error) {
	if place == "" {
		// Without the bound on calls: a chain takes as long as it takes.
		return live{&client.Client{URL: a.url, Key: a.key, HTTP: &http.Client{}}, a.project}, nil
	}
	if strings.HasPrefix(place, "s3://") {
		bucket, err := s3.Open(ctx, place, endpoint)
		return archived{bucket}, err
	}
	info, err := os.Stat(place)
	if err != nil {
		return nil, usageError{err}
	}
	if !info.IsDir() {
		return oneFile(place), nil
	}
	for _, dir := range []string{place, filepath.Join(place, "audit")} {
		if _, err := os.Stat(filepath.Join(dir, "chains")); err == nil {
			files, err := trail.OpenFiles(dir)
			return stored{files}, err
		}
	}
	return archived{archive.Folder(place)}, nil
}

// live is the trail of a running platform.
type live struct {
	*client.Client
	project string
}

// path is the path of a door.
func (l live) path(project, method string) string {
	if project == auditv1.Platform {
		return "/v1/auditTrail" + method
	}
	return "/v1/projects/" + url.PathEscape(project) + "/auditTrail" + method
}

// Read implements chains.
func (l live) Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		body, err := l.Open(ctx, l.path(project, ""), url.Values{"from": {uintText(max(from, 1))}})
		if err != nil {
			yield(chain.Item{}, err)
			return
		}
		defer func() { _ = body.Close() }() // it was read as far as it is wanted
		audit.ReadLines(body)(yield)
	}
}

// Projects implements chains: the one that the command line is about.
func (l live) Projects(context.Context) ([]string, error) { return []string{l.project}, nil }

// Keys implements chains.
func (l live) Keys(ctx context.Context) (chain.Keys, error) {
	text, err := l.text(ctx, "/v1/auditTrail:keys")
	if err != nil {
		return nil, err
	}
	return chain.ParseKeys(text)
}

// maxText bounds an answer that is a text.
const maxText = 1 << 20

// text reads a door that answers with a text.
func (l live) text(ctx context.Context, path string) ([]byte, error) {
	body, err := l.Open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(body, maxText))
	return text, errors.Join(err, body.Close())
}

// stored is the trail in the files of a platform that stands still.
type stored struct{ *trail.Files }

// Projects implements chains.
func (s stored) Projects(context.Context) ([]string, error) { return s.Files.Projects(), nil }

// Keys implements chains.
func (s stored) Keys(context.Context) (chain.Keys, error) { return s.Files.Keys() }

// archived is an archive.
type archived struct{ archive.Target }

// Read implements chains.
func (a archived) Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error] {
	if from > 1 {
		return func(yield func(chain.Item, error) bool) {
			yield(chain.Item{}, &fault.Error{Op: "audit.Read", Kind: fault.Unsupported, Err: errors.New("an archive is read from its begin")})
		}
	}
	return archive.Read(ctx, a.Target, project)
}

// Projects implements chains.
func (a archived) Projects(ctx context.Context) ([]string, error) {
	return archive.Projects(ctx, a.Target)
}

// Keys implements chains.
func (a archived) Keys(ctx context.Context) (chain.Keys, error) { return archive.Keys(ctx, a.Target) }

// oneFile is one file of an archive, by its path.
type oneFile string

// Read implements chains, of whatever project the file is.
func (f oneFile) Read(context.Context, string, uint64) iter.Seq2[chain.Item, error] {
	data, err := os.ReadFile(string(f))
	if err != nil {
		return func(yield func(chain.Item, error) bool) { yield(chain.Item{}, err) }
	}
	return archive.ReadFile(data)
}

// Projects implements chains: the file says it itself.
func (f oneFile) Projects(context.Context) ([]string, error) { return []string{""}, nil }

// Keys implements chains: those beside the file's folder.
func (f oneFile) Keys(context.Context) (chain.Keys, error) {
	return readKeys(filepath.Join(filepath.Dir(string(f)), "..", archive.KeysFile))
}

// readKeys reads a file of public keys.
func readKeys(file string) (chain.Keys, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{Op: "audit.Keys", Name: file, Kind: fault.NotFound, Reason: "AUDIT_NO_KEYS", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return chain.ParseKeys(text)
}
