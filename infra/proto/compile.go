package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate" // buf/validate
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	_ "google.golang.org/genproto/googleapis/api/annotations" // google/api
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// compile is the image of some files and of what they import, which comes
// before them.
func compile(ctx context.Context, root string, paths []string) (*descriptorpb.FileDescriptorSet, error) {
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{root}},
			protocompile.ResolverFunc(linked),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, paths...)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		d := protodesc.ToFileDescriptorProto(f)
		if r, ok := f.(linker.Result); ok {
			d = proto.CloneOf(r.FileDescriptorProto())
		}
		if !slices.Contains(paths, f.Path()) {
			d.ProtoReflect().SetUnknown(append(d.ProtoReflect().GetUnknown(), isImport...))
		}
		set.File = append(set.File, d)
	}
	for _, f := range files {
		add(f)
	}
	return &set, nil
}

// isImport marks a file of an image for buf: nothing is generated for it. It is
// the field 8042 of buf.alpha.image.v1.ImageFile, with its field 1 true.
var isImport = protowire.AppendBytes(protowire.AppendTag(nil, 8042, protowire.BytesType), []byte{1 << 3, 1})

// linked resolves an import to the descriptor that this program links. Files
// of this module are never taken from there.
func linked(path string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Proto: protodesc.ToFileDescriptorProto(f)}, nil
}

// find lists the files below root whose names end with suffix, relative to it and
// sorted. Folders
// that hold what was built, copies, or another module are left out.
func find(root, suffix string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && rel != "." {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			switch {
			case err == nil, rel == "bin", rel == "dist", rel == "data", d.Name() == "testdata", strings.HasPrefix(d.Name(), "."):
				return filepath.SkipDir
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
		}
		if !d.IsDir() && strings.HasSuffix(path, suffix) {
			paths = append(paths, filepath.ToSlash(rel))
		}
		return nil
	})
	slices.Sort(paths)
	return paths, err
}
