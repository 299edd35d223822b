package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are what the image has in its root, and the packages of them.
var programs = []struct{ name, pkg string }{
	{"selvedge", "./local"},
	{"back", "./infra/knative/back"},
}

// certificates are where machines have the certificates that they trust; the
// image has them at the first of these paths.
var certificates = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// image is the image for one architecture.
type image struct {
	arch string
	// layer is the packed layer, diff the digest of the same unpacked.
	layer []byte
	diff  string
}

// build compiles the programs and packs them; dir is a folder to do it in.
func build(ctx context.Context, root, dir, arch string) (image, error) {
	var unpacked bytes.Buffer
	w := tar.NewWriter(&unpacked)
	for _, p := range programs {
		program := filepath.Join(dir, p.name+"-"+arch)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, p.pkg)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			return image{}, fmt.Errorf("build %s for %s: %w\n%s", p.pkg, arch, err, text)
		}
		if err := add(w, p.name, 0o755, program); err != nil {
			return image{}, err
		}
	}
	for _, path := range certificates {
		if _, err := os.Stat(path); err == nil {
			if err := add(w, certificates[0][1:], 0o644, path); err != nil {
				return image{}, err
			}
			break
		}
	}
	if err := w.Close(); err != nil {
		return image{}, err
	}
	return pack(arch, unpacked.Bytes())
}

// add adds a file to an archive. It has no time and no owner, so that the same
// contents give the same layer.
func add(w *tar.Writer, name string, mode int64, path string) error {
	contents, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(contents)), Typeflag: tar.TypeReg}); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	_, err = w.Write(contents)
	return err
}

// pack packs an archive.
func pack(arch string, unpacked []byte) (image, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.Copy(z, bytes.NewReader(unpacked)); err != nil {
		return image{}, err
	}
	if err := z.Close(); err != nil {
		return image{}, err
	}
	return image{arch, packed.Bytes(), digestOf(unpacked)}, nil
}

// digestOf is the digest of contents.
func digestOf(contents []byte) string {
	sum := sha256.Sum256(contents)
	return "sha256:" + hex.EncodeToString(sum[:])
}
