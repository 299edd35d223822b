package clickhouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"selvedge.dev/logstore"
)

// Usage implements logstore.Keeper.
func (s *Store) Usage(ctx context.Context, project string) ([]logstore.Usage, error) {
	const op = "logstore/clickhouse.Usage"
	var a arguments
	where := "1"
	if project != "" {
		where = "Project = " + a.text(project)
	}
	rows, err := s.conn.Query(ctx, "SELECT Project, Bucket, toInt64(intDiv(Slot, 288)) AS day, toInt64(count()), toInt64(sum(Size)) FROM "+s.table([]string{})+" WHERE "+where+ // of Repeated what is not merged yet counts
		" GROUP BY Project, Bucket, day ORDER BY Project, Bucket, day", a...)
	if err != nil {
		return nil, failed(op, err)
	}
	defer func() { _ = rows.Close() }()
	var found []logstore.Usage
	for rows.Next() {
		var u logstore.Usage
		var day int64
		if err := rows.Scan(&u.Project, &u.Bucket, &day, &u.Entries, &u.Bytes); err != nil {
			return nil, failed(op, err)
		}
		u.Day = time.Unix(day*24*60*60, 0).UTC()
		found = append(found, u)
	}
	return found, failed(op, rows.Err())
}

// part is a part of the table that has entries to delete.
type part struct {
	name, partition string
	// stays is how many entries stay, rows how many there are with those that
	// were deleted before but are still on the disk.
	stays, rows uint64
}

// Delete implements logstore.Keeper. A part of the table that has nothing else
// in it is dropped, which takes no time. In others the rows are marked, which
// hides them at once, and once half of a part's rows are marked it is written
// anew without them.
func (s *Store) Delete(ctx context.Context, d logstore.Deletion) error {
	const op = "logstore/clickhouse.Delete"
	if err := d.Check(); err != nil {
		return err
	}
	parts, err := s.parts(ctx, &d)
	if err != nil {
		return failed(op, err)
	}
	marked, written := map[string]bool{}, map[string]bool{}
	for _, p := range parts {
		if p.stays == 0 {
			err := s.conn.Exec(ctx, "ALTER TABLE entries DROP PART '"+p.name+"'")
			if err == nil {
				continue
			}
			if code := codeOf(err); code != noSuchPart && code != noSuchData {
				return failed(op, fmt.Errorf("dropping a part: %w", err))
			}
			// It has been merged with others meanwhile.
		}
		marked[p.partition] = true
		if p.rows > 2*p.stays {
			written[p.partition] = true
		}
	}
	for partition := range marked {
		if err := s.mark(ctx, &d, partition); err != nil {
			return failed(op, fmt.Errorf("deleting entries of %s: %w", partition, err))
		}
	}
	for partition := range written {
		if err := s.conn.Exec(ctx, "ALTER TABLE entries APPLY DELETED MASK IN PARTITION "+partition); err != nil {
			return failed(op, fmt.Errorf("writing the entries of %s that stay: %w", partition, err))
		}
	}
	return nil
}

// parts are the parts that have entries to delete.
func (s *Store) parts(ctx context.Context, d *logstore.Deletion) ([]part, error) {
	var a arguments
	old := strings.Join(until(d.Before), " AND ")
	mine := "Project = " + a.text(d.Project) + " AND Bucket = " + a.text(d.Bucket)
	// The parts are found by the index first: most deletions find none.
	rows, err := s.conn.Query(ctx, "SELECT e.name, p.partition, e.stays, p.rows FROM (SELECT _part AS name, countIf(NOT ("+mine+" AND "+old+")) AS stays FROM entries WHERE _part IN (SELECT DISTINCT _part FROM entries WHERE "+
		mine+" AND "+old+") GROUP BY name) AS e JOIN (SELECT name, partition, rows FROM system.parts WHERE database = currentDatabase() AND table = 'entries' AND active) AS p USING (name)", a...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []part
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.name, &p.partition, &p.stays, &p.rows); err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, rows.Err()
}

// mark deletes the entries in a partition, and waits until that is so.
func (s *Store) mark(ctx context.Context, d *logstore.Deletion, partition string) error {
	if _, err := strconv.Atoi(partition); err != nil {
		return fmt.Errorf("a partition has the name %q: %w", partition, err)
	}
	var a arguments
	statement := "DELETE FROM entries IN PARTITION " + partition + " WHERE Project = " + a.text(d.Project) + " AND Bucket = " + a.text(d.Bucket) +
		" AND " + strings.Join(until(d.Before), " AND ")
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"lightweight_deletes_sync": 2}))
	return s.conn.Exec(ctx, statement, a...)
}
