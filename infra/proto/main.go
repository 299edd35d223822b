// Command proto makes what is generated from the .proto files of the module.
//
// It writes the standard methods of every resource (x_service.proto beside
// x.proto) and what Go code knows about a package of them (schema_gen.go), and
// then compiles all files into one image, a google.protobuf.FileDescriptorSet
// with source information, for buf and its plugins.
//
// The files of other modules, such as google/api and buf/validate, are those
// that this program links: there is no second copy of them to keep.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	root := flag.String("root", ".", "the folder that imports are relative to")
	image := flag.String("image", "", "the file of the image to write")
	plugin := flag.String("generate", "", "write the services of resources, the Go code that knows them, and with this protoc-gen-openapi their documents")
	flag.Parse()
	if err := run(context.Background(), *root, *image, *plugin); err != nil {
		fmt.Fprintln(os.Stderr, "proto:", err)
		os.Exit(1)
	}
}

// run is the command.
func run(ctx context.Context, root, image, plugin string) error {
	var set *descriptorpb.FileDescriptorSet
	paths, err := find(root, ".proto")
	switch {
	case err != nil:
	case plugin != "":
		set, err = Generate(ctx, root, plugin)
	default:
		set, err = compile(ctx, root, paths)
	}
	if err != nil || image == "" {
		return err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return err
	}
	return os.WriteFile(image, b, 0o644)
}
