package image

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// durableFile is the file of an image whose files are all on disk. Until it is
// there the image is as good as any, but does not outlive the machine's boot:
// nobody waits for the disk to run a program.
const durableFile = "durable"

// bootID names the machine's boot, "" where nothing does.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// settle makes an image durable.
func (c *Cache) settle(folder string) {
	err := syncTree(folder)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, durableFile), nil, 0o600)
	}
	// One that was removed meanwhile need not be durable.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.options.Logger.Warn("an unpacked image is not durable", slog.String("image", filepath.Base(folder)), slog.Any("error", err))
	}
}

// syncTree makes the files in a folder and their names durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
