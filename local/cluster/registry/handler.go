package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociserver"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Action is what is done with a repository.
type Action string

// The actions. Who deletes pushes.
const (
	Pull Action = "pull"
	Push Action = "push"
)

// Door is for [Registry.Handler].
type Door struct {
	// Authenticator says who calls, by the Authorization header: Basic with a key
	// as the password, or Bearer. nil leaves it to what the context says.
	Authenticator iam.Authenticator
	// Authorize says whether the principal of the context may; the repository is
	// "" where a client only asks whether it may call at all. An Unauthenticated
	// fault asks the client for a password. nil denies everything.
	Authorize func(ctx context.Context, repository string, a Action) error
	// Next has the paths that are not the registry's; nil is 404.
	Next http.Handler
}

// ownPath are the paths of the protocol. Others have paths below /v2/ too.
var ownPath = regexp.MustCompile(`^/v2/?$|^/v2/_catalog$|^/v2/.+/(blobs/(uploads/?|uploads/[^/]+|[a-z0-9]+:[^/]+)|manifests/[^/]+|tags/list|referrers/[a-z0-9]+:[^/]+)$`)

// Owns reports whether a path is the registry's.
func Owns(path string) bool { return ownPath.MatchString(path) }

// Handler serves the distribution protocol, with paths that begin with /v2/.
func (r *Registry) Handler(d Door) http.Handler {
	if d.Authorize == nil {
		d.Authorize = func(context.Context, string, Action) error {
			return refuse(fault.Denied, "DENIED", errors.New("nobody may use the registry"))
		}
	}
	if d.Next == nil {
		d.Next = http.NotFoundHandler()
	}
	b := &backend{r: r, allow: d.Authorize}
	return &handler{door: d, registry: r, backend: b, server: ociserver.New(b, &ociserver.Options{WriteError: r.writeError})}
}

// handler is the door of a registry.
type handler struct {
	door     Door
	registry *Registry
	backend  *backend
	server   http.Handler
}

// rangeKey finds whether a request names a range.
type rangeKey struct{}

// hasRange reports whether the request of the context says where its contents
// belong.
func hasRange(ctx context.Context) bool {
	has, _ := ctx.Value(rangeKey{}).(bool)
	return has
}

// ServeHTTP serves what is the registry's, and leaves the rest.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !Owns(r.URL.Path) {
		h.door.Next.ServeHTTP(w, r)
		return
	}
	ctx := r.Context()
	if h.door.Authenticator != nil {
		p, err := h.door.Authenticator.Authenticate(ctx, r.Header.Get("Authorization"))
		if err != nil {
			h.registry.writeError(w, r, err)
			return
		}
		ctx = iam.WithPrincipal(ctx, p)
	}
	if err := h.door.Authorize(ctx, "", Pull); err != nil {
		h.registry.writeError(w, r, err)
		return
	}
	r = r.WithContext(context.WithValue(ctx, rangeKey{}, r.Header.Get("Content-Range") != ""))
	if err := h.prepare(r); err != nil {
		h.registry.writeError(w, r, err)
		return
	}
	h.server.ServeHTTP(w, r)
}

// prepare bounds what the request sends, and turns a mount of what cannot be
// mounted into an upload, as the specification wants it.
func (h *handler) prepare(r *http.Request) error {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
		text, err := io.ReadAll(io.LimitReader(r.Body, image.MaxManifest+1))
		if err != nil {
			return refuse(fault.Invalid, "MANIFEST_INVALID", fmt.Errorf("receive the manifest: %w", err))
		}
		if len(text) > image.MaxManifest {
			return refuse(fault.TooLarge, "MANIFEST_INVALID", fmt.Errorf("a manifest has at most %d bytes", image.MaxManifest))
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
	case r.Method == http.MethodPost && q.Has("mount"):
		from, digest := q.Get("from"), image.Digest(q.Get("mount"))
		if from == "" || h.door.Authorize(r.Context(), from, Pull) != nil || !h.has(from, digest) {
			r.URL.RawQuery = url.Values{}.Encode()
		}
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(nil, r.Body, h.registry.options.MaxBlob+1)
	}
	return nil
}

// has reports whether a repository has a blob.
func (h *handler) has(repository string, d image.Digest) bool {
	_, err := h.registry.findBlob(repository, d)
	return err == nil
}

// challenge asks for a name and a password, of which the password is a key.
const challenge = `Basic realm="selvedge", charset="UTF-8"`

// writeError writes an error as the specification has it.
func (r *Registry) writeError(w http.ResponseWriter, req *http.Request, err error) {
	var ours *fault.Error
	var theirs ociregistry.Error
	var status ociregistry.HTTPError
	if !errors.As(err, &ours) && (errors.As(err, &theirs) || errors.As(err, &status)) {
		if err := ociregistry.WriteError(w, err); err != nil {
			r.options.Logger.Debug("a client went away", slog.Any("error", err))
		}
		return
	}
	kind := fault.KindOf(err)
	answer, code, message := kind.HTTPStatus(), fault.ReasonOf(err), "internal error"
	if ours != nil && kind != fault.Internal {
		message = ours.Message()
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		answer, code, message = http.StatusRequestEntityTooLarge, "SIZE_INVALID", err.Error()
	case code == rangeInvalid:
		answer = http.StatusRequestedRangeNotSatisfiable
	case code == fullReason:
		// Clients repeat 429 and 5xx for minutes, and show the message of this one.
		answer, code = http.StatusForbidden, "DENIED"
	case kind == fault.Unauthenticated:
		code = "UNAUTHORIZED"
		w.Header().Set("WWW-Authenticate", challenge)
	case kind == fault.Denied:
		code = "DENIED"
	case kind == fault.Internal:
		r.options.Logger.Error("the registry failed", slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.Any("error", err))
	}
	text, err := json.Marshal(ociregistry.WireErrors{Errors: []ociregistry.WireError{{Code_: code, Message: message}}})
	if err != nil {
		text = nil // two strings always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer)
	_, _ = w.Write(text) // who asked is gone if this fails
}
