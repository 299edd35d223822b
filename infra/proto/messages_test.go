package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The code of messages is what protoc-gen-go makes: that of the repository, for the
// files of a module that it is asked for.
func TestWriteMessages_IsTheCodeOfTheRepository(t *testing.T) {
	t.Parallel()
	root := tree(t, func(text string) string { return text })
	paths := []string{"sdk/sample/v1/sample.proto"}
	image, err := compile(t.Context(), root, paths)
	require.NoError(t, err)
	require.NoError(t, writeMessages(image, root, "selvedge.dev", paths))
	want, err := os.ReadFile(filepath.Join(repository, "sdk", "sample", "v1", "sample.pb.go"))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(root, "sdk", "sample", "v1", "sample.pb.go"))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	require.NoFileExists(t, filepath.Join(root, "sdk", "resource", "v1", "options.pb.go"), "it is only imported")

	require.ErrorContains(t, writeMessages(image, root, "other.example.com", paths), "does not match prefix")
}
