package audit

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// Files are the chains of a trail that is read without opening it: of a
// platform that stands still, of a copy, of a disk that is examined. Nothing is
// repaired or written. What a crash left in the journal is not there; opening
// the trail brings it in.
type Files struct {
	dir    string
	chains map[string][]uint64
}

// OpenFiles finds the chains in the directory of a trail.
func OpenFiles(dir string) (*Files, error) {
	const op = "audit.OpenFiles"
	all, err := os.ReadDir(filepath.Join(dir, "chains"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.NotFound, Reason: "AUDIT_NO_TRAIL", Err: errors.New("there is no audit trail in " + dir)}
	}
	if err != nil {
		return nil, wrap(op, err)
	}
	f := &Files{dir: dir, chains: map[string][]uint64{}}
	for _, e := range all {
		if project, first, ok := parseSegment(e.Name()); ok {
			f.chains[project] = append(f.chains[project], first)
		}
	}
	for _, firsts := range f.chains {
		slices.Sort(firsts)
	}
	return f, nil
}

// Projects are the projects that have chains, sorted.
func (f *Files) Projects() []string { return slices.Sorted(maps.Keys(f.chains)) }

// Keys are the public keys beside the chains. Whoever can change the chains can
// change them too: keys that were kept elsewhere are worth more.
func (f *Files) Keys() (chain.Keys, error) {
	text, err := os.ReadFile(filepath.Join(f.dir, "keys", publicFile))
	if err != nil {
		return nil, wrap("audit.Keys", err)
	}
	return chain.ParseKeys(text)
}

// Read is as Trail.Read.
func (f *Files) Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		w := &walk{source: f, project: project, firsts: f.chains[project], from: from}
		w.run(ctx, yield)
	}
}

// open implements source.
func (f *Files) open(project string, first uint64) (file, error) {
	in, err := os.Open(filepath.Join(f.dir, "chains", segmentName(project, first)))
	if err != nil {
		return nil, err
	}
	return plain{in}, nil
}

// end implements source: the files say it themselves.
func (f *Files) end(string) (first uint64, epoch uint32, size int64) { return 0, 0, 0 }

// plain is a file of the operating system as a segment.
type plain struct{ *os.File }

// Size implements file.
func (p plain) Size() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
