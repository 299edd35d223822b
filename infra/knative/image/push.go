package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"
)

// The media types of the parts of an image.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// user is who the programs run as: the number that means nobody to images
// without a base.
const user = "65532:65532"

// platform says what machines an image is for.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// descriptor names a blob or manifest.
type descriptor struct {
	MediaType string             `json:"mediaType"`
	Digest    ociregistry.Digest `json:"digest"`
	Size      int64              `json:"size"`
	Platform  *platform          `json:"platform,omitempty"`
}

// document is a manifest or an index.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// settings is the config blob of an image.
type settings struct {
	platform
	Config struct {
		User       string   `json:"User"`
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd"`
		WorkingDir string   `json:"WorkingDir"`
	} `json:"config"`
	RootFS struct {
		Type  string   `json:"type"`
		Diffs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// pusher puts the parts of an image into a repository.
type pusher struct {
	registry ociregistry.Interface
	ref      ociref.Reference
}

// push pushes the images and an index of them, which gets the tag, and returns
// the index's digest.
func push(ctx context.Context, registry ociregistry.Interface, ref ociref.Reference, images []image) (ociregistry.Digest, error) {
	p := pusher{registry, ref}
	index := document{SchemaVersion: 2, MediaType: indexType}
	for _, i := range images {
		of := platform{Architecture: i.arch, OS: "linux"}
		layer, err := p.blob(ctx, layerType, i.layer)
		if err != nil {
			return "", fmt.Errorf("layer for %s: %w", i.arch, err)
		}
		s := settings{platform: of}
		s.Config.User, s.Config.WorkingDir = user, "/"
		s.Config.Entrypoint, s.Config.Cmd = []string{"/selvedge"}, []string{"up"}
		s.RootFS.Type, s.RootFS.Diffs = "layers", []string{i.diff}
		text, err := json.Marshal(s)
		if err != nil {
			return "", err
		}
		config, err := p.blob(ctx, configType, text)
		if err != nil {
			return "", fmt.Errorf("config for %s: %w", i.arch, err)
		}
		m, err := p.document(ctx, "", document{SchemaVersion: 2, MediaType: manifestType, Config: &config, Layers: []descriptor{layer}})
		if err != nil {
			return "", fmt.Errorf("manifest for %s: %w", i.arch, err)
		}
		m.Platform = &of
		index.Manifests = append(index.Manifests, m)
	}
	d, err := p.document(ctx, ref.Tag, index)
	return d.Digest, err
}

// blob pushes a blob, unless it is there.
func (p pusher) blob(ctx context.Context, mediaType string, contents []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: ociregistry.Digest(digestOf(contents)), Size: int64(len(contents))}
	if have, err := p.registry.ResolveBlob(ctx, p.ref.Repository, d.Digest); err == nil && have.Size == d.Size {
		return d, nil
	}
	_, err := p.registry.PushBlob(ctx, p.ref.Repository, ociregistry.Descriptor{MediaType: mediaType, Digest: d.Digest, Size: d.Size}, bytes.NewReader(contents))
	return d, err
}

// document pushes a manifest or an index, with a tag unless that is "".
func (p pusher) document(ctx context.Context, tag string, doc document) (descriptor, error) {
	text, err := json.Marshal(doc)
	if err != nil {
		return descriptor{}, err
	}
	_, err = p.registry.PushManifest(ctx, p.ref.Repository, tag, text, doc.MediaType)
	return descriptor{MediaType: doc.MediaType, Digest: ociregistry.Digest(digestOf(text)), Size: int64(len(text))}, err
}
