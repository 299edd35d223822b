package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// upload is an upload of a blob that is in hand. Who uploads has one request at a
// time, and may go on in another, after a restart too.
type upload struct {
	registry   *Registry
	repository string
	id         string
	file       *os.File
	size       int64
	// err is the first error of a write. What comes after it is read and thrown
	// away, so that the client is there to be told.
	err    error
	closed bool
}

// uploadFile is the name of the file of an upload, which is of one repository.
func uploadFile(repository, id string) string {
	sum := sha256.Sum256([]byte(repository))
	return id + "." + hex.EncodeToString(sum[:8])
}

// begin begins an upload.
func (r *Registry) begin(repository string) (*upload, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	u := &upload{registry: r, repository: repository, id: rand.Text()}
	name := uploadFile(repository, u.id)
	r.mu.Lock()
	many := len(r.uploads) >= r.options.MaxUploads
	if !many {
		r.uploads[name] = true
	}
	r.mu.Unlock()
	if many {
		return nil, refuse(fault.Exhausted, "TOOMANYREQUESTS", fmt.Errorf("more than %d uploads are not complete", r.options.MaxUploads))
	}
	f, err := os.OpenFile(u.path(), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		r.forget(name)
		return nil, asFull(err)
	}
	u.file = f
	return u, nil
}

// resume goes on with an upload at an offset, which must be where it stands;
// less than 0 is wherever that is.
func (r *Registry) resume(repository, id string, offset int64) (*upload, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	name := uploadFile(repository, id)
	r.mu.Lock()
	busy, known := r.uploads[name]
	if known && !busy {
		r.uploads[name] = true
	}
	r.mu.Unlock()
	switch {
	case !known:
		return nil, refuse(fault.NotFound, "BLOB_UPLOAD_UNKNOWN", errors.New("no such upload"))
	case busy:
		return nil, refuse(fault.Conflict, "BLOB_UPLOAD_INVALID", errors.New("another request goes on with the upload"))
	}
	u := &upload{registry: r, repository: repository, id: id}
	f, err := os.OpenFile(u.path(), os.O_RDWR, 0)
	if err != nil {
		r.rest(name)
		return nil, err
	}
	u.file = f
	u.size, err = f.Seek(0, io.SeekEnd)
	if err == nil && offset >= 0 && offset != u.size {
		err = refuse(fault.Conflict, rangeInvalid, fmt.Errorf("the upload stands at %d, not at %d", u.size, offset))
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// rangeInvalid is the code of an upload that goes on where it does not stand,
// which is a status of its own.
const rangeInvalid = "RANGE_INVALID"

// rest notes that nobody has an upload in hand.
func (r *Registry) rest(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.uploads[name]; ok {
		r.uploads[name] = false
	}
}

// forget notes that an upload is gone.
func (r *Registry) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.uploads, name)
}

// path is the file of the upload. The name is one that begin made.
func (u *upload) path() string {
	return filepath.Join(u.registry.dir, uploadsFolder, uploadFile(u.repository, u.id))
}

// Write appends to the upload. It always takes all: Commit and Close tell what
// went wrong.
func (u *upload) Write(p []byte) (int, error) {
	if u.err == nil {
		u.err = u.append(p)
	}
	return len(p), nil
}

// append appends to the upload within its bounds.
func (u *upload) append(p []byte) error {
	if u.size+int64(len(p)) > u.registry.options.MaxBlob {
		return refuse(fault.TooLarge, "SIZE_INVALID", fmt.Errorf("a blob has at most %d bytes", u.registry.options.MaxBlob))
	}
	if err := u.registry.reserve(int64(len(p))); err != nil {
		return err
	}
	n, err := u.file.Write(p)
	u.size += int64(n)
	u.registry.free(int64(len(p) - n))
	return asFull(err)
}

// Close ends the request; what was uploaded stays for another, unless there was
// no room for it.
func (u *upload) Close() error {
	if u.closed {
		return nil
	}
	if u.err != nil {
		return errors.Join(u.err, u.Cancel())
	}
	u.closed = true
	u.registry.rest(uploadFile(u.repository, u.id))
	return u.file.Close()
}

// Cancel ends the upload.
func (u *upload) Cancel() error {
	if u.closed {
		return nil
	}
	u.closed = true
	err := errors.Join(u.file.Close(), os.Remove(u.path()))
	u.registry.free(u.size)
	u.registry.forget(uploadFile(u.repository, u.id))
	return err
}

// commit makes the upload a blob of its repository, if it is the one of the
// digest. An upload that is not is over.
func (u *upload) commit(d image.Digest) (found, error) {
	if u.err == nil {
		u.err = u.check(d)
	}
	if u.err != nil {
		return found{}, u.Close()
	}
	r := u.registry
	r.gate.RLock()
	defer r.gate.RUnlock()
	f := found{d, u.size, octets}
	if _, err := os.Stat(r.blob(d)); err == nil {
		// Those who have the same contents need not prove it, but they did.
		if err := u.Cancel(); err != nil {
			return found{}, err
		}
		return f, r.have(u.repository, d)
	}
	if err := os.Rename(u.path(), r.blob(d)); err != nil {
		return found{}, errors.Join(err, u.Cancel())
	}
	u.closed = true
	r.forget(uploadFile(u.repository, u.id))
	err := errors.Join(u.file.Close(), syncFolder(filepath.Join(r.dir, blobsFolder)))
	if err != nil {
		return found{}, err
	}
	return f, r.have(u.repository, d)
}

// check makes the upload durable and sees whether it is what it is said to be.
func (u *upload) check(d image.Digest) error {
	if err := checkDigest(d); err != nil {
		return err
	}
	if err := u.file.Sync(); err != nil {
		return asFull(err)
	}
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := d.Hash()
	if _, err := io.Copy(sum, u.file); err != nil {
		return err
	}
	if !d.Matches(sum) {
		return refuse(fault.Invalid, "DIGEST_INVALID", fmt.Errorf("the %d bytes that were uploaded are not those of %s", u.size, d))
	}
	return nil
}

// have notes that a repository has a blob, which is there.
func (r *Registry) have(repository string, d image.Digest) error {
	link := r.link(repository, blobLinks, fileOf(d))
	if err := touch(link); err == nil {
		return nil
	}
	return r.writeFile(link, nil)
}

// touch notes that something was asked for now.
func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// mount lets a repository have the blob of another.
func (r *Registry) mount(from, to string, d image.Digest) (found, error) {
	f, err := r.findBlob(from, d)
	if err != nil {
		return f, err
	}
	if err := checkRepository(to); err != nil {
		return f, err
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	if _, err := os.Stat(r.blob(d)); errors.Is(err, fs.ErrNotExist) {
		return f, refuse(fault.NotFound, "BLOB_UNKNOWN", fmt.Errorf("%s has no blob %s", from, d))
	}
	return f, r.have(to, d)
}
