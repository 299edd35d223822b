package containerd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/metadata"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// sizeLabel has the bytes of an unpacked image.
const sizeLabel = "selvedge.dev/bytes"

// images are those that containerd has of ours.
type images struct {
	r *Runner

	mu sync.Mutex
	// known are by name.
	known map[string]*unpacked
}

// unpacked is an image that containerd has, or is being given. All but users and
// used is set before ready is closed, and constant then.
type unpacked struct {
	all *images
	// name is that of containerd's record, REPOSITORY@DIGEST.
	name string
	// chain is the snapshot of its files.
	chain    string
	config   image.Config
	uid, gid uint32
	size     int64
	// ready is closed when it can be used, or err says why not.
	ready chan struct{}
	err   error

	users int
	used  time.Time
}

// newImages knows of none yet.
func newImages(r *Runner) *images { return &images{r: r, known: map[string]*unpacked{}} }

// pullTimeout bounds how long an image may take.
const pullTimeout = 15 * time.Minute

// acquire gives an image to containerd, unless that has it, and keeps it there until
// its release. Callers of the same image wait for one transfer.
func (m *images) acquire(ctx context.Context, source image.Source, ref image.Reference) (*unpacked, error) {
	name := ref.Repository + "@" + ref.Ref()
	m.mu.Lock()
	u, ok := m.known[name]
	if !ok {
		u = &unpacked{all: m, name: name, ready: make(chan struct{})}
		m.known[name] = u
	}
	u.users++
	m.mu.Unlock()
	if !ok {
		// Others wait for it, also when this caller does not any more.
		m.r.group.Go(func() {
			ctx, cancel := context.WithTimeout(m.r.background, pullTimeout)
			defer cancel()
			if u.err = m.give(ctx, source, ref, u); u.err != nil {
				m.forget(u)
			}
			close(u.ready)
		})
	}
	select {
	case <-u.ready:
	case <-ctx.Done():
		u.release()
		return nil, fmt.Errorf("wait for image %s: %w", name, context.Cause(ctx))
	}
	if u.err != nil {
		u.release()
		return nil, u.err
	}
	return u, nil
}

// release ends one use of the image.
func (u *unpacked) release() {
	u.all.mu.Lock()
	defer u.all.mu.Unlock()
	u.users--
	u.used = time.Now()
}

// forget has the image be given to containerd again by whoever needs it next.
func (m *images) forget(u *unpacked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[u.name] == u {
		delete(m.known, u.name)
	}
}

// give makes sure that containerd has an image and its files.
func (m *images) give(ctx context.Context, source image.Source, ref image.Reference, u *unpacked) error {
	doc, digest, err := image.Manifest(ctx, source, ref.Ref(), image.Host())
	if err != nil {
		return err
	}
	text, err := blob(ctx, source, *doc.Config)
	if err != nil {
		return err
	}
	config, err := image.ParseConfig(text)
	if err != nil {
		return err
	}
	if len(doc.Layers) == 0 || len(doc.Layers) != len(config.RootFS.DiffIDs) {
		return invalidImage(fmt.Errorf("%d layers, and %d digests of their contents", len(doc.Layers), len(config.RootFS.DiffIDs)))
	}
	manifest, err := source.Manifest(ctx, string(digest))
	if err != nil {
		return err
	}
	u.config = *config
	chains := chainIDs(config.RootFS.DiffIDs)
	u.chain = chains[len(chains)-1]

	// What the lease has is not collected as garbage before the record names it.
	c := m.r.client
	lease := "selvedge-" + rand.Text()
	expires := time.Now().Add(pullTimeout).UTC().Format(time.RFC3339)
	if _, err := c.leases.Create(ctx, &leasesapi.CreateRequest{ID: lease, Labels: map[string]string{"containerd.io/gc.expire": expires}}); err != nil {
		return failed("make a lease", err)
	}
	defer func() {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		if _, err := c.leases.Delete(ctx, &leasesapi.DeleteRequest{ID: lease}); err != nil {
			m.r.o.Logger.Debug("a lease ends by itself", slog.Any("error", err))
		}
	}()
	ctx = metadata.AppendToOutgoingContext(ctx, leaseHeader, lease)
	if _, err := c.snapshots.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Snapshotter: c.snapshotter, Key: u.chain}); err != nil || !m.has(ctx, u) {
		p := pull{m: m, source: source, doc: doc, digest: digest, manifest: manifest, config: text, diffs: config.RootFS.DiffIDs, chains: chains}
		if err := p.run(ctx, u); err != nil {
			return err
		}
		m.collect(ctx)
	}
	return u.credential(ctx)
}

// afterwards is a context for what remains to be done when another has ended.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
}

// has reports whether containerd has the record of an image, and sets its size.
func (m *images) has(ctx context.Context, u *unpacked) bool {
	got, err := m.r.client.images.Get(ctx, &imagesapi.GetImageRequest{Name: u.name})
	if err != nil || got.GetImage().GetLabels()[ownerLabel] != m.r.o.Owner {
		return false
	}
	u.size, err = strconv.ParseInt(got.GetImage().GetLabels()[sizeLabel], 10, 64)
	return err == nil
}

// chainIDs are the names of the snapshots of layers that lie on one another, as
// the specification of images has them.
func chainIDs(diffs []image.Digest) []string {
	var out []string
	for i, d := range diffs {
		chain := string(d)
		if i > 0 {
			sum := sha256.Sum256([]byte(out[i-1] + " " + chain))
			chain = "sha256:" + hex.EncodeToString(sum[:])
		}
		out = append(out, chain)
	}
	return out
}

// credential finds the numbers of the image's user, whose name may be in a file of
// any layer.
func (u *unpacked) credential(ctx context.Context) (err error) {
	img := image.Image{Root: u.all.r.o.Dir, Config: u.config}
	if u.uid, u.gid, err = img.Credential(); err == nil {
		return nil
	}
	c := u.all.r.client
	key := "selvedge-view-" + rand.Text()
	view, err := c.snapshots.View(ctx, &snapshotsapi.ViewSnapshotRequest{Snapshotter: c.snapshotter, Key: key, Parent: u.chain})
	if err != nil {
		return failed("look into the image", err)
	}
	defer func() {
		_, _ = c.snapshots.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: c.snapshotter, Key: key}) // or the lease ends it
	}()
	for _, dir := range foldersOf(view.GetMounts()) {
		img.Root = dir
		if u.uid, u.gid, err = img.Credential(); err == nil {
			return nil
		}
	}
	return err
}

// foldersOf are the folders of a view's layers, the uppermost first.
func foldersOf(mounts []*types.Mount) []string {
	var out []string
	for _, m := range mounts {
		if m.GetType() == "bind" {
			out = append(out, m.GetSource())
		}
		for _, o := range m.GetOptions() {
			if list, ok := strings.CutPrefix(o, "lowerdir="); ok {
				out = append(out, strings.Split(list, ":")...)
			}
		}
	}
	return out
}

// collect has containerd forget images that nobody uses while there are more than
// MaxBytes, the one whose use is longest ago first.
func (m *images) collect(ctx context.Context) {
	list, err := m.r.client.images.List(ctx, &imagesapi.ListImagesRequest{Filters: ownedBy(m.r.o.Owner)})
	if err != nil {
		m.r.o.Logger.Warn("images cannot be listed", slog.Any("error", err))
		return
	}
	for _, name := range m.superfluous(list.GetImages()) {
		if _, err := m.r.client.images.Delete(ctx, &imagesapi.DeleteImageRequest{Name: name}); err != nil && !missing(err) {
			m.r.o.Logger.Warn("an image cannot be removed", slog.String("image", name), slog.Any("error", err))
		}
	}
}

// superfluous are the names of images that are to go. They are not known any more.
func (m *images) superfluous(all []*imagesapi.Image) []string {
	type candidate struct {
		name string
		size int64
		used time.Time
	}
	var idle []candidate
	total := int64(0)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range all {
		size, _ := strconv.ParseInt(i.GetLabels()[sizeLabel], 10, 64) // 0 if it has none
		total += size
		c := candidate{i.GetName(), size, i.GetUpdatedAt().AsTime()}
		if u := m.known[c.name]; u != nil {
			if u.users > 0 {
				continue
			}
			c.used = u.used
		}
		idle = append(idle, c)
	}
	slices.SortFunc(idle, func(a, b candidate) int { return a.used.Compare(b.used) })
	var names []string
	for _, c := range idle {
		if total <= m.r.o.MaxBytes {
			break
		}
		total -= c.size
		delete(m.known, c.name)
		names = append(names, c.name)
	}
	return names
}

// maxConfig bounds the configuration of an image, in bytes.
const maxConfig = 8 << 20

// blob is the contents of a small blob, checked.
func blob(ctx context.Context, source image.Source, d image.Descriptor) ([]byte, error) {
	r, err := source.Blob(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it is read
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	sum := d.Digest.Hash()
	_, _ = sum.Write(text) // never fails
	if len(text) > maxConfig || !d.Digest.Matches(sum) {
		return nil, invalidImage(fmt.Errorf("the configuration is not what its digest %s says, or has more than %d bytes", d.Digest, maxConfig))
	}
	return text, nil
}

// invalidImage is that an image is malformed.
func invalidImage(err error) error {
	return &fault.Error{Op: "containerd.Image", Kind: fault.Invalid, Field: "image", Err: err}
}
