package edgeruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"selvedge.dev/sdk/journal"
)

// Reasons for which the agent itself loses events, beside those of the journal
// (EVICTED, CORRUPT).
const (
	// lostRejected begins the reasons that the platform gave.
	lostRejected = "REJECTED/"
	// lostUnwritten is a reading that the disk did not take.
	lostUnwritten = "UNWRITTEN"
)

// ledger counts, on disk, what the agent lost for reasons of its own. The page
// names the offset up to which it counts, so that a rejection is counted once
// even if the machine stops before the cursor has moved past it. It is written
// only when there is something to count. Safe for concurrent use.
type ledger struct {
	path string

	mu   sync.Mutex
	page page
	// unsaved is set while the page in memory has counts that the disk has
	// not taken.
	unsaved bool
}

// page is the ledger's file.
type page struct {
	// Through is the first offset whose verdict is not counted in Lost.
	Through journal.Offset `json:"through"`
	// Lost counts events by reason.
	Lost map[string]uint64 `json:"lost"`
}

// ledgerFile is the ledger's name within an agent's folder.
const ledgerFile = "losses.json"

// openLedger reads the ledger in dir for a journal that ends at end. A page that
// cannot be read is put aside, since a device that does not start loses more
// than its counts.
func openLedger(dir string, end journal.Offset, log *slog.Logger) (*ledger, error) {
	l := &ledger{path: filepath.Join(dir, ledgerFile), page: page{Lost: map[string]uint64{}}}
	text, err := os.ReadFile(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("read loss ledger: %w", err)
	}
	var p page
	if err := json.Unmarshal(text, &p); err != nil {
		log.Error("loss ledger is damaged, counting from zero", slog.String("path", l.path), slog.Any("error", err))
		if err := os.Rename(l.path, l.path+".damaged"); err != nil {
			return nil, fmt.Errorf("put damaged loss ledger aside: %w", err)
		}
		return l, nil
	}
	if p.Lost != nil {
		l.page = p
	}
	if l.page.Through > end {
		l.page.Through = 0 // the queue has been removed and begins again
	}
	return l, nil
}

// settle counts the losses among the events from page.Through to through,
// durably. An error means that nothing was counted.
func (l *ledger) settle(through journal.Offset, losses map[string]uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := page{Through: through, Lost: maps.Clone(l.page.Lost)}
	for reason, n := range losses {
		next.Lost[reason] += n
	}
	if err := writePage(l.path, next); err != nil {
		return fmt.Errorf("write loss ledger: %w", err)
	}
	l.page, l.unsaved = next, false
	return nil
}

// unwritten counts a reading that the disk did not take. The count reaches the
// disk when that takes something again; see save.
func (l *ledger) unwritten() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.page.Lost[lostUnwritten]++
	l.unsaved = true
}

// save writes what the disk has not taken yet.
func (l *ledger) save() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.unsaved {
		return nil
	}
	if err := writePage(l.path, l.page); err != nil {
		return fmt.Errorf("write loss ledger: %w", err)
	}
	l.unsaved = false
	return nil
}

// through is the first offset that is not counted.
func (l *ledger) through() journal.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.page.Through
}

// lost are the counts by reason.
func (l *ledger) lost() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.page.Lost)
}

// writePage replaces the file at path by p in one step: a new file, made
// durable, takes its name. What an interrupted call leaves is overwritten by
// the next.
func writePage(path string, p page) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in dir durable. Windows has no such call, and no need.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
