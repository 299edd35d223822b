// Command proto makes what is generated from the .proto files of the module.
//
// It writes the standard methods of every resource (x_service.proto beside
// x.proto), what Go code knows about a package of them (schema_gen.go), and the
// Go code of all messages. It compiles all files into one image, a
// google.protobuf.FileDescriptorSet with source information, for buf.
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
	module := flag.String("generate", "", "write the services of resources and all Go code, into the module of this name")
	plugin := flag.String("openapi", "", "with this protoc-gen-openapi, write the documents of the services too")
	flag.Parse()
	if err := run(context.Background(), *root, *image, *module, *plugin); err != nil {
		fmt.Fprintln(os.Stderr, "proto:", err)
		os.Exit(1)
	}
}

// run is the command.
func run(ctx context.Context, root, image, module, plugin string) error {
	var set *descriptorpb.FileDescriptorSet
	paths, err := find(root, ".proto")
	switch {
	case err != nil:
	case module != "":
		if set, err = Generate(ctx, root, plugin); err != nil {
			return err
		}
		// Those that there are now: Generate makes and removes some.
		if paths, err = find(root, ".proto"); err != nil {
			return err
		}
		err = writeMessages(set, root, module, paths)
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
