package containerd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// output are the pipes that a container prints to.
type output struct {
	paths [2]string
	// ends are our ends for writing, without which a pipe whose other writer has
	// not come yet looks like one that is over.
	ends    []*os.File
	readers []*os.File
	group   sync.WaitGroup
}

// openOutput makes the pipes in a folder, and copies from them until it is closed.
func openOutput(dir string, stdout, stderr io.Writer) (*output, error) {
	o := &output{}
	for i, to := range []io.Writer{stdout, stderr} {
		if to == nil {
			to = io.Discard
		}
		name := filepath.Join(dir, [2]string{"stdout", "stderr"}[i])
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			return o, &os.PathError{Op: "mkfifo", Path: name, Err: err}
		}
		from, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return o, err
		}
		o.readers = append(o.readers, from)
		end, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return o, err
		}
		o.paths[i] = name
		o.ends = append(o.ends, end)
		o.group.Go(func() {
			_, _ = io.Copy(to, from)         // logs that cannot be kept are the writer's matter
			_, _ = io.Copy(io.Discard, from) // and the function goes on
		})
	}
	return o, nil
}

// close ends the copying: where the other writers are gone, when all is copied
// that they wrote.
func (o *output) close(gone bool) error {
	if o == nil {
		return nil
	}
	files := append(o.ends[:len(o.ends):len(o.ends)], o.readers...)
	var errs []error
	if gone {
		errs = append(errs, closeAll(o.ends))
		o.group.Wait()
		files = o.readers
	}
	errs = append(errs, closeAll(files))
	o.group.Wait()
	return errors.Join(errs...)
}

// closeAll closes files.
func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
