package main

import (
	"errors"
	"path/filepath"

	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// writeMessages writes the Go code of the messages of some files of an image, in
// the module of that name whose folder root is. It is what protoc-gen-go writes,
// by its own code.
func writeMessages(image *descriptorpb.FileDescriptorSet, root, module string, paths []string) error {
	parameter := "module=" + module
	gen, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{ProtoFile: image.File, FileToGenerate: paths, Parameter: &parameter})
	if err != nil {
		return err
	}
	gen.SupportedFeatures = internal_gengo.SupportedFeatures
	gen.SupportedEditionsMinimum, gen.SupportedEditionsMaximum = internal_gengo.SupportedEditionsMinimum, internal_gengo.SupportedEditionsMaximum
	for _, f := range gen.Files {
		if f.Generate {
			internal_gengo.GenerateFile(gen, f)
		}
	}
	response := gen.Response()
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.GetFile() {
		if err := replace(filepath.Join(root, filepath.FromSlash(f.GetName())), []byte(f.GetContent())); err != nil {
			return err
		}
	}
	return nil
}
