package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// GetTrail is the permission to read the trail of a project, or of the platform:
// every record of it, and the proof that it is whole.
const GetTrail = "audit.trails.get"

// RotateKey is the permission, on the platform, to have its trail signed with
// another key from now on.
const RotateKey = "audit.keys.rotate"

// Permissions are those that are asked for here and are in no proto file.
func Permissions() []string { return []string{GetTrail, RotateKey} }

// Chains is the trail as it is read; it is logstore/audit's.
type Chains interface {
	// Read gives the items of a project's chain from a record on.
	Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error]
	// Checkpoint gives the head of a project's chain, which is signed for that.
	Checkpoint(ctx context.Context, project string) (chain.Checkpoint, error)
	// Keys are the public keys that checkpoints were signed with.
	Keys() chain.Keys
	// Verify verifies a project's chain, also against checkpoints that were kept.
	Verify(ctx context.Context, project string, heads ...chain.Checkpoint) (chain.Report, error)
}

// Doors let the trail be read from outside, to be verified and kept there:
//
//	GET  /v1/projects/P/auditTrail?from=N  the chain from record N on, a line for each item
//	GET  /v1/projects/P/auditTrail:head    its last checkpoint, as a signed note
//	POST /v1/projects/P/auditTrail:verify  what the platform finds; the body has notes that were kept
//	GET  /v1/auditTrail:keys               the public keys, for everybody
//	POST /v1/auditTrail:rotateKey          signs with another key from now on, and answers with the keys
//
// and the same without projects/P for what belongs to no project. A line is one of
//
//	{"record": …}      as chain.Link has it in JSON
//	{"checkpoint": …}  the text of a signed note
//	{"start": …}       the state of the chain where a file of the trail begins
//
// and the last line is {"end": true}: without it the answer was cut off.
type Doors struct {
	// Chains is what is read.
	Chains Chains
	// Allow is nil when the caller of a context has the permission on the resource
	// of that name, and else the error to answer with. Nil denies everything.
	Allow func(ctx context.Context, permission string, name resource.Name) error
	// Rotate makes the next signing key, which the one before it vouches for; nil
	// cannot.
	Rotate func() error
	// Recorder and Store are where it is recorded who reads; nil does not.
	Recorder *audit.Recorder
	Store    *store.Store
}

// Routes adds the doors to r.
func (d *Doors) Routes(r chi.Router) {
	for _, base := range []string{"/v1/projects/{project}", "/v1"} {
		r.Get(base+"/auditTrail", d.handle(GetTrail, d.read))
		r.Get(base+"/auditTrail:head", d.handle(GetTrail, d.head))
		r.Post(base+"/auditTrail:verify", d.handle(GetTrail, d.verify))
	}
	r.Post("/v1/auditTrail:rotateKey", d.handle(RotateKey, d.rotate))
	r.Get("/v1/auditTrail:keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, "application/json", d.Chains.Keys().JSON()) })
}

// handle is a handler for who has a permission on the project of the path, which is
// recorded.
func (d *Doors) handle(permission string, f func(w http.ResponseWriter, r *http.Request, project string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		project, name := auditv1.Platform, resource.Name("")
		var err error
		if id := chi.URLParam(r, "project"); id != "" {
			project = id
			name, err = resource.Project.Parse("projects/" + id)
		}
		ctx, call := d.Recorder.Enter(r.Context(), d.Store, audit.Door{
			Service: "audit.selvedge.dev", Called: r.Method + " " + chi.RouteContext(r.Context()).RoutePattern(), About: name, Writes: permission == RotateKey,
		})
		started := &begun{ResponseWriter: w}
		if err == nil {
			err = d.allow(ctx, permission, name)
			call.Asked(ctx, permission, name, err == nil)
		}
		if err == nil {
			err = f(started, r.WithContext(ctx), project)
		}
		call.End(ctx, err)
		if err != nil && !started.yes {
			fault.Write(w, err)
		}
	}
}

// begun sees whether an answer has begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

// Write implements http.ResponseWriter.
func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// allow asks whether the caller has the permission.
func (d *Doors) allow(ctx context.Context, permission string, name resource.Name) error {
	if d.Allow == nil {
		return &fault.Error{Op: "audit.Doors", Name: string(name), Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission, Err: errors.New("nobody may: there is no policy")}
	}
	return d.Allow(ctx, permission, name)
}

// rotate makes the next signing key and answers with the public keys.
func (d *Doors) rotate(w http.ResponseWriter, _ *http.Request, _ string) error {
	if d.Rotate == nil {
		return &fault.Error{Op: "audit.Rotate", Kind: fault.Unsupported, Reason: "AUDIT_KEY_ELSEWHERE", Err: errors.New("the signing key is not the platform's to rotate")}
	}
	if err := d.Rotate(); err != nil {
		return err
	}
	answer(w, "application/json", d.Chains.Keys().JSON())
	return nil
}

// answer answers with a body.
func answer(w http.ResponseWriter, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	_, _ = w.Write(body) // who is gone is not told
}

// line is a line of a chain.
type line struct {
	Record     *chain.Link `json:"record,omitempty"`
	Checkpoint string      `json:"checkpoint,omitempty"`
	Start      *start      `json:"start,omitempty"`
	End        bool        `json:"end,omitempty"`
}

// start is a chain.Start in JSON.
type start struct {
	Project string       `json:"project"`
	Size    uint64       `json:"size"`
	Peaks   []chain.Hash `json:"peaks"`
	Prev    chain.Hash   `json:"prev"`
	// Checkpoint is that of exactly the records before, "" if there is none.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// writeTimeout is how long a reader may take for a part of a chain.
const writeTimeout = time.Minute

// flushEach is after how many lines what was written is sent.
const flushEach = 256

// read answers with a chain.
func (d *Doors) read(w http.ResponseWriter, r *http.Request, project string) error {
	from := uint64(1)
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseUint(text, 10, 64); err != nil || from == 0 {
			return invalid("from", errors.New("want the number of a record, from 1 on"))
		}
	}
	control := http.NewResponseController(w)
	out := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	n := 0
	for item, err := range d.Chains.Read(r.Context(), project, from) {
		if err != nil {
			return err
		}
		if n++; n%flushEach == 1 {
			// Who reads slowly goes on, who does not read is let go.
			if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		if err := out.Encode(lineOf(item)); err != nil {
			return &fault.Error{Op: "audit.Read", Kind: fault.Unavailable, Reason: "READER_GONE", Err: err}
		}
	}
	return out.Encode(line{End: true})
}

// lineOf is an item as a line.
func lineOf(i chain.Item) line {
	switch {
	case i.Link != nil:
		return line{Record: i.Link}
	case i.Checkpoint != nil:
		return line{Checkpoint: i.Checkpoint.Note()}
	}
	s := &start{Project: i.Start.Project, Size: i.Start.Tree.Size, Peaks: i.Start.Tree.Peaks, Prev: i.Start.Prev}
	if c := i.Start.Checkpoint; c != nil {
		s.Checkpoint = c.Note()
	}
	return line{Start: s}
}

// item is a line as an item; false for the last one.
func (l *line) item() (i chain.Item, more bool, err error) {
	switch {
	case l.Record != nil:
		return chain.Item{Link: l.Record}, true, nil
	case l.Checkpoint != "":
		c, err := chain.ParseNote(l.Checkpoint)
		return chain.Item{Checkpoint: &c}, true, err
	case l.Start != nil:
		s := &chain.Start{Project: l.Start.Project, Tree: chain.Tree{Size: l.Start.Size, Peaks: l.Start.Peaks}, Prev: l.Start.Prev}
		if l.Start.Checkpoint != "" {
			c, err := chain.ParseNote(l.Start.Checkpoint)
			if err != nil {
				return i, false, err
			}
			s.Checkpoint = &c
		}
		return chain.Item{Start: s}, true, nil
	}
	return i, false, nil
}

// errCut is an answer without its last line.
var errCut = errors.New("the answer was cut off")

// ReadLines reads the answer of a door, for chain.Verify.
func ReadLines(r io.Reader) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		in := json.NewDecoder(r)
		for {
			var l line
			err := in.Decode(&l)
			if errors.Is(err, io.EOF) {
				err = errCut
			}
			if err == nil && l.End {
				return
			}
			var i chain.Item
			if err == nil {
				var more bool
				if i, more, err = l.item(); err == nil && !more {
					err = errors.New("a line is none of a chain")
				}
			}
			if !yield(i, err) || err != nil {
				return
			}
		}
	}
}

// head answers with the head of a chain.
func (d *Doors) head(w http.ResponseWriter, r *http.Request, project string) error {
	c, err := d.Chains.Checkpoint(r.Context(), project)
	if err != nil {
		return err
	}
	answer(w, "text/plain; charset=utf-8", []byte(c.Note()))
	return nil
}

// maxNotes bounds the notes that are given to verify.
const maxNotes = 1 << 20

// verify answers with what is found.
func (d *Doors) verify(w http.ResponseWriter, r *http.Request, project string) error {
	heads, err := chain.ReadNotes(http.MaxBytesReader(w, r.Body, maxNotes))
	if err != nil {
		return invalid("body", err)
	}
	report, err := d.Chains.Verify(r.Context(), project, heads...)
	var finding *chain.Finding
	if err != nil && !errors.As(err, &finding) {
		return err
	}
	body, err := json.Marshal(struct {
		Report  chain.Report   `json:"report"`
		Finding *chain.Finding `json:"finding,omitempty"`
	}{report, finding})
	if err != nil {
		return err
	}
	answer(w, "application/json", body)
	return nil
}
