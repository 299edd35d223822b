package tools

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestOpenAPI_Valid holds every document against the rules of OpenAPI 3.
func TestOpenAPI_Valid(t *testing.T) {
	t.Parallel()
	n := 0
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "openapi.yaml" {
			return err
		}
		n++
		doc, err := openapi3.NewLoader().LoadFromFile(path)
		if err != nil {
			return err
		}
		if err := doc.Validate(t.Context()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("there is no openapi.yaml")
	}
}
