package logging

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
)

// New returns the function for a process of its own, which writes to the
// platform at SELVEDGE_URL with the key in SELVEDGE_KEY.
func New() *Function {
	return &Function{Entries: NewRemote(&client.Client{URL: os.Getenv("SELVEDGE_URL"), Key: os.Getenv("SELVEDGE_KEY"), HTTP: &http.Client{Timeout: remoteTimeout}})}
}

// remoteTimeout bounds one request to another process.
const remoteTimeout = 30 * time.Second

// remote are the doors of another process.
type remote struct{ client *client.Client }

// NewRemote are the doors that are reached by requests.
func NewRemote(c *client.Client) Entries { return &remote{c} }

// Put implements [Entries]. If some of several entries are refused, each is
// written again alone, to learn which: the same entry again is no second one.
func (r *remote) Put(ctx context.Context, project, device string, entries []logstore.Entry) ([]error, error) {
	verdicts := make([]error, len(entries))
	err := r.write(ctx, project, device, entries)
	switch {
	case err == nil || fault.KindOf(err) != fault.Invalid:
		return verdicts, err
	case len(entries) == 1:
		verdicts[0] = err
		return verdicts, nil
	}
	for i := range entries {
		if verdicts[i] = r.write(ctx, project, device, entries[i:i+1]); verdicts[i] != nil && fault.KindOf(verdicts[i]) != fault.Invalid {
			return nil, verdicts[i]
		}
	}
	return verdicts, nil
}

// write writes entries into the bucket of a device, or if there is none, without
// saying which.
func (r *remote) write(ctx context.Context, project, device string, entries []logstore.Entry) error {
	texts := make([]json.RawMessage, len(entries))
	for i := range entries {
		e := entries[i]
		e.Project = project
		if e.Time.IsZero() {
			e.Time = time.Now().UTC()
		}
		e.Received = e.Time
		var err error
		if texts[i], err = entryJSON(&e); err != nil {
			return &fault.Error{Op: "logging.Put", Kind: fault.Invalid, Reason: "INVALID_ENTRY", Err: err}
		}
	}
	body := map[string]any{"entries": texts, "partialSuccess": true}
	if device != "" && !strings.HasPrefix(device, "_") {
		err := r.client.Call(ctx, http.MethodPost, "/v2/entries:write", url.Values{bucketParameter: {device}}, body, nil)
		if f := new(fault.Error); !errors.As(err, &f) || f.Reason != reasonNoBucket {
			return err
		}
	}
	return r.client.Call(ctx, http.MethodPost, "/v2/entries:write", nil, body, nil)
}
