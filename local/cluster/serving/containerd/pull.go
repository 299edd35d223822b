package containerd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// pull is the way of one image into containerd.
type pull struct {
	m                *images
	source           image.Source
	doc              *image.Document
	digest           image.Digest
	manifest, config []byte
	diffs            []image.Digest
	chains           []string
}

// The media types of what does not say what it is.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// run writes the blobs, unpacks the layers, and makes the record. The labels say
// what refers to what, so that containerd's collection of garbage keeps it.
func (p pull) run(ctx context.Context, u *unpacked) error {
	refs := map[string]string{"containerd.io/gc.ref.content.config": string(p.doc.Config.Digest)}
	for i, l := range p.doc.Layers {
		refs["containerd.io/gc.ref.content.l."+strconv.Itoa(i)] = string(l.Digest)
		if l.Size > p.m.r.o.MaxImage {
			return tooLarge(p.m.r.o.MaxImage)
		}
		from, err := p.source.Blob(ctx, l.Digest)
		if err != nil {
			return err
		}
		err = errors.Join(p.write(ctx, from, l, map[string]string{"containerd.io/uncompressed": string(p.diffs[i])}), from.Close())
		if err != nil {
			return err
		}
	}
	if err := p.unpack(ctx, u); err != nil {
		return err
	}
	snapshot := map[string]string{"containerd.io/gc.ref.snapshot." + p.m.r.client.snapshotter: u.chain}
	if err := p.write(ctx, bytes.NewReader(p.config), *p.doc.Config, snapshot); err != nil {
		return err
	}
	d := image.Descriptor{MediaType: cmp.Or(p.doc.MediaType, manifestType), Digest: p.digest, Size: int64(len(p.manifest))}
	if err := p.write(ctx, bytes.NewReader(p.manifest), d, refs); err != nil {
		return err
	}
	record := &imagesapi.Image{
		Name: u.name, Target: descriptor(d),
		Labels: map[string]string{ownerLabel: p.m.r.o.Owner, sizeLabel: strconv.FormatInt(u.size, 10)},
	}
	_, err := p.m.r.client.images.Create(ctx, &imagesapi.CreateImageRequest{Image: record})
	if status.Code(err) == codes.AlreadyExists {
		_, err = p.m.r.client.images.Update(ctx, &imagesapi.UpdateImageRequest{Image: record})
	}
	if err != nil {
		return failed("record the image", err)
	}
	return nil
}

// descriptor is a descriptor as the API has it.
func descriptor(d image.Descriptor) *types.Descriptor {
	return &types.Descriptor{MediaType: d.MediaType, Digest: string(d.Digest), Size: d.Size}
}

// chunk is how much of a blob goes in one message.
const chunk = 1 << 20

// write gives containerd a blob, unless it has that; the digest is checked there.
func (p pull) write(ctx context.Context, from io.Reader, d image.Descriptor, labels map[string]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := p.m.r.client.content.Write(ctx)
	if err != nil {
		return failed("write "+string(d.Digest), err)
	}
	call := func(req *contentapi.WriteContentRequest) error {
		if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) { // the reason comes with the answer
			return err
		}
		_, err := stream.Recv()
		return err
	}
	ref := "selvedge-" + rand.Text()
	err = call(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_STAT, Ref: ref, Total: d.Size, Expected: string(d.Digest)})
	if status.Code(err) == codes.AlreadyExists {
		return p.label(ctx, d, labels)
	}
	buf := make([]byte, chunk)
	offset := int64(0)
	for err == nil {
		n, end := io.ReadFull(from, buf)
		if n > 0 {
			err = call(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_WRITE, Offset: offset, Data: buf[:n]})
			offset += int64(n)
		}
		if errors.Is(end, io.EOF) || errors.Is(end, io.ErrUnexpectedEOF) {
			break
		}
		if end != nil {
			return fmt.Errorf("read %s: %w", d.Digest, end)
		}
	}
	if err == nil {
		err = call(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_COMMIT, Offset: offset, Total: d.Size, Expected: string(d.Digest), Labels: labels})
	}
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.AlreadyExists:
		return p.label(ctx, d, labels)
	case codes.FailedPrecondition:
		return invalidImage(fmt.Errorf("a blob is not what its digest %s says", d.Digest))
	default:
		return failed("write "+string(d.Digest), err)
	}
}

// label gives a blob that containerd has the labels that keep what it needs.
func (p pull) label(ctx context.Context, d image.Descriptor, labels map[string]string) error {
	info, err := p.m.r.client.content.Info(ctx, &contentapi.InfoRequest{Digest: string(d.Digest)})
	if err != nil {
		return failed("look at "+string(d.Digest), err)
	}
	all := info.GetInfo()
	if all.Labels == nil {
		all.Labels = map[string]string{}
	}
	changed := false
	for k, v := range labels {
		changed = changed || all.Labels[k] != v
		all.Labels[k] = v
	}
	if !changed {
		return nil
	}
	if _, err := p.m.r.client.content.Update(ctx, &contentapi.UpdateRequest{Info: all}); err != nil {
		return failed("label "+string(d.Digest), err)
	}
	return nil
}

// unpack makes the snapshots of the layers that are not there, and adds up their
// sizes.
func (p pull) unpack(ctx context.Context, u *unpacked) error {
	parent := ""
	c := p.m.r.client
	for i := range p.doc.Layers {
		_, err := c.snapshots.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Snapshotter: c.snapshotter, Key: p.chains[i]})
		if missing(err) {
			err = p.layer(ctx, i, parent, p.m.r.o.MaxImage-u.size)
		}
		if err != nil {
			return err
		}
		used, err := c.snapshots.Usage(ctx, &snapshotsapi.UsageRequest{Snapshotter: c.snapshotter, Key: p.chains[i]})
		if err != nil {
			return failed("measure a layer", err)
		}
		if u.size += used.GetSize(); u.size > p.m.r.o.MaxImage {
			return tooLarge(p.m.r.o.MaxImage)
		}
		parent = p.chains[i]
	}
	return nil
}

// layer unpacks one layer over its parent. It may take some bytes.
func (p pull) layer(ctx context.Context, i int, parent string, room int64) (err error) {
	c := p.m.r.client
	key := "selvedge-unpack-" + rand.Text()
	mounts, err := c.snapshots.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Snapshotter: c.snapshotter, Key: key, Parent: parent})
	if err != nil {
		return failed("prepare a layer", err)
	}
	defer func() {
		if err != nil {
			ctx, cancel := afterwards(ctx)
			defer cancel()
			_, _ = c.snapshots.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: c.snapshotter, Key: key}) // or it is garbage
		}
	}()
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go p.bound(bounded, cancel, key, room)
	d := p.doc.Layers[i]
	d.MediaType = cmp.Or(d.MediaType, layerType)
	got, err := c.diff.Apply(bounded, &diffapi.ApplyRequest{Diff: descriptor(d), Mounts: mounts.GetMounts()})
	if fault.KindOf(context.Cause(bounded)) == fault.TooLarge {
		return context.Cause(bounded)
	}
	if err != nil {
		return failed("unpack a layer", err)
	}
	if got.GetApplied().GetDigest() != string(p.diffs[i]) {
		return invalidImage(fmt.Errorf("the contents of a layer are %s, and not %s", got.GetApplied().GetDigest(), p.diffs[i]))
	}
	_, err = c.snapshots.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Snapshotter: c.snapshotter, Name: p.chains[i], Key: key})
	if status.Code(err) == codes.AlreadyExists { // another platform was faster
		_, err = c.snapshots.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: c.snapshotter, Key: key})
	}
	if err != nil {
		return failed("keep a layer", err)
	}
	return nil
}

// boundEvery is how often a layer is measured while it is unpacked.
const boundEvery = time.Second

// bound cancels the unpacking of a layer that is too large.
func (p pull) bound(ctx context.Context, cancel context.CancelCauseFunc, key string, room int64) {
	tick := time.NewTicker(boundEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used, err := p.m.r.client.snapshots.Usage(ctx, &snapshotsapi.UsageRequest{Snapshotter: p.m.r.client.snapshotter, Key: key})
		if err == nil && used.GetSize() > room {
			cancel(tooLarge(p.m.r.o.MaxImage))
			return
		}
	}
}

// tooLarge is that an image is larger than it may be.
func tooLarge(bound int64) error {
	return &fault.Error{Op: "containerd.Image", Kind: fault.TooLarge, Reason: "IMAGE_TOO_LARGE", Err: fmt.Errorf("the image has more than %d bytes", bound)}
}
