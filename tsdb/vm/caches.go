package vm

import (
	"io/fs"
	"os"
	"path/filepath"
)

// smallCache is how large a cache that the engine saved may be and still be
// forgotten. One of 3,000 series is 1.7 MB, most of it packed zeros, so that this is
// some 20,000 of them, which are looked up again in half a second of a processor.
const smallCache = 3 << 20

// forgetSmall removes the small ones of the caches of names and numbers of series
// that the engine saved when it was closed. When it reads one, it fills memory with
// 512 pieces of 64 KB, however little is in each, and keeps them: 32 MB a cache.
// One that grows anew takes pages as it needs them.
func forgetSmall(dir string) error {
	for _, name := range []string{"metricName_tsid", "metricID_tsid", "metricID_metricName"} {
		saved := filepath.Join(dir, "cache", name)
		if bytes, err := sizeOf(saved); err != nil || bytes > smallCache {
			continue // there is none, or the engine says what is wrong with it
		}
		if err := os.RemoveAll(saved); err != nil {
			return err
		}
	}
	return nil
}

// sizeOf is how many bytes the files in a folder have.
func sizeOf(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
