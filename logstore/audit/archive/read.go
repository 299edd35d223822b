package archive

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// Projects are the projects that have files in a target, sorted.
func Projects(ctx context.Context, target Target) ([]string, error) {
	var projects []string
	for name, err := range target.List(ctx, "") {
		if err != nil {
			return nil, wrap("archive.Projects", err)
		}
		if project, _, ok := parseName(name); ok && !slices.Contains(projects, project) {
			projects = append(projects, project)
		}
	}
	slices.Sort(projects)
	return projects, nil
}

// Keys are the public keys that were exported with the files. Whoever can
// change the files can change them too: keys that were kept elsewhere are worth
// more.
func Keys(ctx context.Context, target Target) (chain.Keys, error) {
	text, err := target.Get(ctx, KeysFile)
	if err != nil {
		return nil, wrap("archive.Keys", err)
	}
	return chain.ParseKeys(text)
}

// parseName is the inverse of fileName.
func parseName(name string) (project string, first uint64, ok bool) {
	dir, stem, ok := strings.Cut(name, "/")
	if !ok {
		return "", 0, false
	}
	first, err := strconv.ParseUint(strings.TrimSuffix(stem, suffix), 10, 64)
	project = strings.ReplaceAll(dir, "+", "/")
	return project, first, err == nil && fileName(project, first) == name
}

// Read gives the items of a project's chain out of its files, for
// chain.Verify. Each file must name the one before it and that one's hash.
func Read(ctx context.Context, target Target, project string) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		b := before{next: 1}
		for name, err := range target.List(ctx, folder(project)) {
			if err != nil {
				yield(chain.Item{}, wrap("archive.Read", err))
				return
			}
			if _, _, ok := parseName(name); !ok {
				continue
			}
			data, err := target.Get(ctx, name)
			if err != nil {
				yield(chain.Item{}, wrap("archive.Read", err))
				return
			}
			var h head
			for i, err := range unpack(data, &h, b.next) {
				if err == nil && i.Start != nil {
					err = h.follows(name, project, b)
				}
				if err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
				if !yield(i, err) || err != nil {
					return
				}
				if i.Link != nil {
					b.next = i.Link.Seq + 1
				}
			}
			b.name, b.sum = name, digest(data)
		}
	}
}

// before is what is known of the file before another one.
type before struct {
	name, sum string
	next      uint64 // the record behind it
}

// follows is an error unless the file's first line, which stands in the file
// called name, is right about where it stands.
func (h *head) follows(name, project string, b before) error {
	find := func(what chain.What, seq uint64, format string, args ...any) error {
		return &chain.Finding{Project: project, What: what, Seq: seq, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case fileName(h.Project, h.First) != name:
		return find(chain.Inserted, b.next, "it is the file of project %q from record %d on", h.Project, h.First)
	case h.First > b.next:
		return find(chain.Missing, b.next, "the next file is from record %d on", h.First)
	case h.First < b.next:
		return find(chain.Inserted, h.First, "the file before has that record too")
	case h.PreviousFile != b.name || h.PreviousSHA256 != b.sum:
		return find(chain.Rewritten, max(h.First, 2)-1, "the file before, %q, is not the one that was there", b.name)
	}
	return nil
}

// ReadFile gives the items of one file, for chain.Verify with Partial set.
func ReadFile(data []byte) iter.Seq2[chain.Item, error] { return unpack(data, &head{}, 1) }

// unpack gives the items of a file, whose first line it puts into h, and which
// should begin with record next. What
// cannot be read is a *chain.Finding, and so is a file that does not end with a
// checkpoint.
func unpack(data []byte, h *head, next uint64) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		damaged := func(err error) {
			yield(chain.Item{}, &chain.Finding{Project: h.Project, What: chain.Damaged, Seq: next, Detail: err.Error()})
		}
		zip, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			damaged(err)
			return
		}
		in := bufio.NewScanner(&bounded{zip, maxFileBytes})
		in.Buffer(nil, maxLine)
		signed := true
		for n := 0; in.Scan(); n++ {
			i, err := parseLine(in.Bytes(), n == 0, h)
			if err != nil {
				damaged(err)
				return
			}
			switch {
			case i.Start != nil:
				next = h.First
			case i.Link != nil:
				next = i.Link.Seq + 1
			}
			signed = i.Link == nil
			if !yield(i, nil) {
				return
			}
		}
		switch {
		case in.Err() != nil:
			damaged(in.Err())
		case h.Format == "":
			damaged(errors.New("an empty file"))
		case !signed:
			damaged(errors.New("the file does not end with a checkpoint"))
		}
	}
}

// bounded is a reader that fails where a file is longer than any is.
type bounded struct {
	io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &fault.Error{Kind: fault.TooLarge, Err: errors.New("the file is too large")}
	}
	return n, err
}

// parseLine reads a line.
func parseLine(text []byte, first bool, h *head) (chain.Item, error) {
	var l line
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&l); err != nil {
		return chain.Item{}, err
	}
	if in.More() {
		return chain.Item{}, errors.New("a line with more than one value")
	}
	switch {
	case first != (l.File != nil), l.Record != nil && l.Checkpoint != "":
		return chain.Item{}, errors.New("a line that is out of place")
	case l.Record != nil:
		return chain.Item{Link: l.Record}, nil
	case l.Checkpoint != "":
		c, err := chain.ParseNote(l.Checkpoint)
		return chain.Item{Checkpoint: &c}, err
	case l.File == nil:
		return chain.Item{}, errors.New("a line of nothing")
	}
	*h = *l.File
	if h.Format != Format || h.First == 0 {
		return chain.Item{}, fmt.Errorf("the file is of format %q, not %q", h.Format, Format)
	}
	s := &chain.Start{Project: h.Project, Tree: chain.Tree{Size: h.First - 1, Peaks: h.Peaks}, Prev: h.Prev}
	if h.Checkpoint != "" {
		c, err := chain.ParseNote(h.Checkpoint)
		if err != nil {
			return chain.Item{}, err
		}
		s.Checkpoint = &c
	}
	return chain.Item{Start: s}, nil
}
