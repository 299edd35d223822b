package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/sdk/fault"
)

// Mount is where an instance sees a volume.
type Mount struct {
	// Source is the file or folder on the machine; "" is an empty folder that the
	// instance may write to.
	Source string
	// Target is where it is seen.
	Target string
	// Limit bounds the bytes of an empty folder, 0 for no bound of its own.
	Limit int64
}

// Volumes are the files of an instance's volumes, in a folder of the machine.
type Volumes struct {
	// Mounts are where they are seen.
	Mounts []Mount
	// folder has the files, "" if there are none.
	folder string
}

// WriteVolumes writes the files of an instance's volumes below a folder, for one
// user to read. The caller removes them when the instance has ended, also after
// an error.
func WriteVolumes(dir string, i pool.Instance, uid uint32) (v Volumes, err error) {
	if len(i.Volumes) == 0 {
		return v, nil
	}
	if v.folder, err = os.MkdirTemp(dir, i.Name+"-"); err != nil {
		return v, err
	}
	// Others pass, and see nothing: what is in it belongs to the instance alone.
	if err := os.Chmod(v.folder, 0o711); err != nil {
		return v, err
	}
	written := map[string]bool{}
	for n, x := range i.Volumes {
		if x.Writable {
			if x.Key != "" && written[x.Key] {
				return v, &fault.Error{Op: "bundle.WriteVolumes", Name: i.Name, Kind: fault.Invalid, Field: "volumeMounts", Err: errors.New("a volume that is written to can be mounted once")}
			}
			written[x.Key] = true
			v.Mounts = append(v.Mounts, Mount{Target: x.Path, Limit: x.Limit})
			continue
		}
		dir := filepath.Join(v.folder, fmt.Sprint(n))
		if err := writeVolume(dir, x.Files, uid); err != nil {
			return v, fmt.Errorf("write volume %s: %w", x.Path, err)
		}
		source := filepath.Join(dir, filepath.FromSlash(filepath.Clean("/"+x.SubPath)))
		if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
			return v, &fault.Error{Op: "bundle.WriteVolumes", Name: i.Name, Kind: fault.Precondition, Field: "subPath", Err: fmt.Errorf("the volume of %s has no %q", x.Path, x.SubPath)}
		}
		v.Mounts = append(v.Mounts, Mount{Source: source, Target: x.Path})
	}
	return v, nil
}

// Remove removes the files.
func (v Volumes) Remove() error {
	if v.folder == "" {
		return nil
	}
	return os.RemoveAll(v.folder)
}

// writeVolume writes files for a user to read.
func writeVolume(dir string, files map[string]pool.File, uid uint32) error {
	own := func(path string, mode os.FileMode) error {
		err := os.Chmod(path, mode)
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(path, int(uid), int(uid))
		}
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it is only a name
	for name, f := range files {
		if parent := filepath.Dir(name); parent != "." {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return err
			}
		}
		mode := os.FileMode(f.Mode) & os.ModePerm
		if mode == 0 {
			mode = 0o644
		}
		if err := root.WriteFile(name, f.Data, 0o600); err != nil {
			return err
		}
		if err := own(filepath.Join(dir, name), mode&^0o222|0o400); err != nil {
			return err
		}
	}
	return own(dir, 0o555)
}
