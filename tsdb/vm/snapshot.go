package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Snapshotter = (*Store)(nil)

// Snapshot implements tsdb.Snapshotter. The engine's files never change once
// they are written, so on the same file system the copy is made of hard links
// and takes no room until the store merges or drops its own; elsewhere it is
// copied. Appending waits while the engine makes its own snapshot, for as long
// as a Sync takes, and goes on while the files are linked.
func (s *Store) Snapshot(ctx context.Context, dir string) (err error) {
	const op = "tsdb/vm.Snapshot"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: err}
	}
	name := s.freeze()
	defer func() {
		if deleted := s.engine.DeleteSnapshot(name); deleted != nil {
			panic("BUG: a snapshot's own name is not valid: " + deleted.Error())
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := linkTree(ctx, filepath.Join(s.dir, "snapshots", name), dir); err != nil {
		return &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: fmt.Errorf("copy snapshot: %w", err)}
	}
	return nil
}

// freeze has the engine make a snapshot of all that was added, and returns its
// name.
func (s *Store) freeze() string {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.flush()
	for {
		name := s.engine.MustCreateSnapshot()
		if !s.partsInMemory() { // see persist
			s.durable.mark.Store(s.added.Load())
			return name
		}
		if err := s.engine.DeleteSnapshot(name); err != nil {
			panic("BUG: a snapshot's own name is not valid: " + err.Error())
		}
	}
}

// linkTree puts links to the files below from, or copies of them, below to,
// which is there. Symbolic links are followed: the engine's snapshot is one
// folder that links to those of its parts.
func linkTree(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		info, err := os.Stat(source)
		switch {
		case err != nil:
		case info.IsDir():
			if err = os.Mkdir(target, 0o755); err == nil {
				err = linkTree(ctx, source, target)
			}
		case info.Mode().IsRegular():
			err = linkFile(source, target, info.Mode())
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", source)
		}
		if err != nil {
			return err
		}
	}
	return syncPath(to)
}

// linkFile makes target the same file as source, or a copy where it cannot be.
func linkFile(source, target string, mode fs.FileMode) error {
	if os.Link(source, target) == nil {
		return nil
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err == nil {
		_, err = io.Copy(out, in)
		err = errors.Join(err, out.Sync(), out.Close())
	}
	return errors.Join(err, in.Close())
}

// syncPath has the entries of a folder reach the disk.
func syncPath(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
