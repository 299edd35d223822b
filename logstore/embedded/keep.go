package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// Usage implements logstore.Keeper.
func (s *Store) Usage(ctx context.Context, project string) ([]logstore.Usage, error) {
	const op = "logstore/embedded.Usage"
	if err := s.use(op); err != nil {
		return nil, err
	}
	defer s.users.Done()
	s.show()
	projects := []string{project}
	if project == "" {
		projects = s.tenants.names()
	}
	var all []logstore.Usage
	for _, p := range projects {
		used, err := s.usage(ctx, p, s.tenants.some(p, nil), everSpan)
		if err != nil {
			return nil, failed(op, err)
		}
		all = append(all, used...)
	}
	return all, nil
}

// usage is Usage of some tenants of one project.
func (s *Store) usage(ctx context.Context, project string, tenants []logstorage.TenantID, at span) ([]logstore.Usage, error) {
	query := fmt.Sprintf("* | stats by (%s:1d, %s) count() %s, sum(%s) %s", columnTime, columnBucket, columnEntries, columnSize, columnSize)
	var (
		mu   sync.Mutex
		used []logstore.Usage
	)
	err := s.search(ctx, tenants, query, at, func(_ uint, b *logstorage.DataBlock) error {
		mu.Lock()
		defer mu.Unlock()
		columns := make(map[string][]string)
		for _, c := range b.GetColumns(false) {
			columns[c.Name] = c.Values
		}
		days, _ := b.GetTimestamps(nil)
		for i, day := range days {
			bytes, err := strconv.ParseFloat(columns[columnSize][i], 64)
			if err != nil {
				bytes = 0 // no entry has a size
			}
			used = append(used, logstore.Usage{
				Project: project, Bucket: strings.Clone(columns[columnBucket][i]), Day: utc(day),
				Entries: number(columns[columnEntries][i]), Bytes: int64(bytes),
			})
		}
		return nil
	})
	slices.SortFunc(used, func(a, b logstore.Usage) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), a.Day.Compare(b.Day))
	})
	return used, err
}

// deletePoll is how often a deletion is looked after. The engine begins one
// within a second.
const deletePoll = 50 * time.Millisecond

// Delete implements logstore.Keeper. Days in which only the bucket has entries
// are removed as they are; of others the engine writes what stays anew.
func (s *Store) Delete(ctx context.Context, d logstore.Deletion) error {
	const op = "logstore/embedded.Delete"
	if err := d.Check(); err != nil {
		return err
	}
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	s.deleting.Lock()
	defer s.deleting.Unlock()
	tenants := s.tenants.some(d.Project, []string{d.Bucket})
	if len(tenants) == 0 {
		return nil
	}
	if err := s.dropDays(ctx, tenants[0], d.Before); err != nil {
		return failed(op, err)
	}
	return failed(op, s.deleteRows(ctx, tenants, d))
}

// dropDays removes the days before one in which no other tenant has rows.
func (s *Store) dropDays(ctx context.Context, tenant logstorage.TenantID, before time.Time) error {
	for _, name := range s.engine.PartitionList() {
		day, err := time.Parse(dayFormat, name)
		if err != nil {
			return fmt.Errorf("read name of day: %w", err)
		}
		if !day.Before(before) {
			continue
		}
		if err := s.dropDay(ctx, name, day, tenant); err != nil {
			return err
		}
	}
	return nil
}

// dropDay removes a day unless another tenant has rows in it. Nothing is
// appended meanwhile: the engine would drop rows of the day.
func (s *Store) dropDay(ctx context.Context, name string, day time.Time, tenant logstorage.TenantID) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.show()
	others := slices.DeleteFunc(s.tenants.all(), func(t logstorage.TenantID) bool { return t == tenant })
	shared := false
	at := span{day.UnixNano(), day.AddDate(0, 0, 1).UnixNano() - 1}
	err := s.search(ctx, others, "* | limit 1 | fields "+columnTime, at, func(uint, *logstorage.DataBlock) error {
		shared = true
		return nil
	})
	if err != nil || shared {
		return err
	}
	if err := s.engine.PartitionDetach(name); err != nil {
		return fmt.Errorf("take day out: %w", err)
	}
	s.streams.forget()
	s.daysMu.Lock()
	delete(s.days, name)
	s.daysMu.Unlock()
	// Half a day would keep the engine from opening; a hidden one it leaves alone.
	doomed := filepath.Join(s.partitions(), doomedPrefix+name)
	if err := errors.Join(os.RemoveAll(doomed), os.Rename(filepath.Join(s.partitions(), name), doomed), os.RemoveAll(doomed)); err != nil {
		return &fault.Error{Kind: fault.Unavailable, Err: fmt.Errorf("remove day: %w", err)}
	}
	return nil
}

// doomedPrefix is what the folder of a day is called while it is removed.
const doomedPrefix = ".removed-"

// partitions is the folder of the days.
func (s *Store) partitions() string { return filepath.Join(s.dir, rowsDir, "partitions") }

// removeDoomed removes the days that an earlier process did not live to remove.
func (s *Store) removeDoomed() error {
	doomed, err := filepath.Glob(filepath.Join(s.partitions(), doomedPrefix+"*"))
	for _, dir := range doomed {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// deleteRows has the engine delete what is left of a deletion, and waits for
// that. A deletion that was begun goes on after a restart.
func (s *Store) deleteRows(ctx context.Context, tenants []logstorage.TenantID, d logstore.Deletion) error {
	left, err := s.usage(ctx, d.Project, tenants, span{everSpan.from, clampNano(d.Before) - 1})
	if err != nil || len(left) == 0 {
		return err
	}
	f, err := logstorage.ParseFilter("_time:<" + d.Before.Format(time.RFC3339))
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	id := fmt.Sprintf("%d-%d-%d", tenants[0].AccountID, d.Before.Unix(), time.Now().UnixNano())
	if err := s.engine.DeleteRunTask(ctx, id, d.Before.UnixNano(), tenants, f); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	tick := time.NewTicker(deletePoll)
	defer tick.Stop()
	for {
		tasks, err := s.engine.DeleteActiveTasks(ctx)
		if err != nil {
			return fmt.Errorf("look after deletion: %w", err)
		}
		if !slices.ContainsFunc(tasks, func(t *logstorage.DeleteTask) bool { return t.TaskID == id }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the deletion goes on"), context.Cause(ctx))
		case <-tick.C:
		}
	}
}
