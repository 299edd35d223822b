package process

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// RequireNode is the environment variable that makes a missing Node or npm a
// failure of the tests that need them.
const RequireNode = "SELVEDGE_REQUIRE_NODE"

// InstallNode installs what package.json and package-lock.json of this folder pin,
// with other files of it, into a folder of the cache that is named after all of
// them, and returns that folder. A run that is cut off leaves none by that name. If
// Node or npm is missing, the error is [exec.ErrNotFound].
func InstallNode(ctx context.Context, name string, files ...string) (string, error) {
	_, noNode := exec.LookPath("node")
	_, noManager := exec.LookPath("npm")
	if err := errors.Join(noNode, noManager); err != nil {
		return "", err
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	contents := map[string][]byte{}
	for _, file := range append([]string{"package.json", "package-lock.json"}, files...) {
		if contents[file], err = os.ReadFile(file); err != nil {
			return "", err
		}
		hash.Write(contents[file])
	}
	cache := filepath.Join(root, ".cache", name)
	folder := filepath.Join(cache, fmt.Sprintf("%x", hash.Sum(nil)[:8]))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is renamed when all went well
	for file, text := range contents {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, text)
	}
	if err := os.Rename(dir, folder); err != nil && !errors.Is(err, os.ErrExist) { // another run may have been faster
		return "", err
	}
	return folder, nil
}
