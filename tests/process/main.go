package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// Main is what TestMain of a package does that runs programs: build makes them
// in dir, a folder that lives as long as the tests of m run. It returns what to
// exit with.
func Main(m interface{ Run() int }, build func(ctx context.Context, dir string) error) int {
	code, err := buildAndRun(m, build)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// buildAndRun is Main without the exit code of errors.
func buildAndRun(m interface{ Run() int }, build func(ctx context.Context, dir string) error) (code int, err error) {
	dir, err := os.MkdirTemp("", "selvedge-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := build(context.Background(), dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// BuildTool builds the one tool that the go.mod of the module in folder (a path
// in this one) names into dir, and returns the program's path. Flags go to go
// build.
func BuildTool(ctx context.Context, dir, folder, name string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...), "tool")...)
	cmd.Dir = filepath.Join(root, folder)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	return filepath.Join(dir, name), nil
}

// Key makes an API key of a principal, such as "projects/default".
func (p *Platform) Key(ctx context.Context, principal string) (string, error) {
	var made struct {
		Key string `json:"key"`
	}
	err := p.Client(AdminKey).Call(ctx, http.MethodPost, "/v1/keys", nil, map[string]string{"principal": principal}, &made)
	return made.Key, err
}
