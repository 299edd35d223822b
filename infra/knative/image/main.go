// Command image builds the image of the platform and pushes it to a registry,
// without Docker: one layer with the programs selvedge and back and the
// certificates of this machine, for each architecture, and an index of them.
//
//	go run ./infra/knative/image -to HOST/REPOSITORY:TAG
//
// It prints the reference with its digest. The same sources give the same image.
// Credentials are those of `docker login`, if there are any.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"cuelabs.dev/go/oci/ociregistry/ociauth"
	"cuelabs.dev/go/oci/ociregistry/ociclient"
	"cuelabs.dev/go/oci/ociregistry/ociref"
)

func main() {
	to := flag.String("to", "", "the `reference` HOST/REPOSITORY:TAG that the image gets")
	root := flag.String("root", ".", "`folder` of the repository")
	architectures := flag.String("arch", "amd64,arm64", "architectures, in the words of Go, separated by commas")
	plain := flag.Bool("http", false, "the registry speaks HTTP without TLS")
	flag.Parse()
	ref, err := run(context.Background(), *root, *to, strings.Split(*architectures, ","), *plain)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(ref)
}

// run builds and pushes the image, and returns its reference by digest.
func run(ctx context.Context, root, to string, architectures []string, plain bool) (string, error) {
	ref, err := ociref.Parse(to)
	if err != nil {
		return "", fmt.Errorf("-to %q: %w", to, err)
	}
	if ref.Tag == "" || ref.Digest != "" {
		return "", fmt.Errorf("-to %q: want HOST/REPOSITORY:TAG", to)
	}
	logins, err := ociauth.Load(nil)
	if err != nil {
		return "", fmt.Errorf("read the logins of docker: %w", err)
	}
	registry, err := ociclient.New(ref.Host, &ociclient.Options{Insecure: plain, Transport: ociauth.NewStdTransport(ociauth.StdTransportParams{Config: logins})})
	if err != nil {
		return "", fmt.Errorf("registry %s: %w", ref.Host, err)
	}
	dir, err := os.MkdirTemp("", "selvedge-image-")
	if err != nil {
		return "", err
	}
	var images []image
	for _, arch := range architectures {
		if err == nil {
			var i image
			i, err = build(ctx, root, dir, arch)
			images = append(images, i)
		}
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return "", err
	}
	digest, err := push(ctx, registry, ref, images)
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", to, err)
	}
	return ref.Host + "/" + ref.Repository + "@" + string(digest), nil
}
