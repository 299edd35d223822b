package clickhouse

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"selvedge.dev/logstore"
)

// OpenPatient is Open that waits so long for a migration of another.
func OpenPatient(ctx context.Context, options Options, patience time.Duration) (*Store, error) {
	return open(ctx, options, patience)
}

// Schema is the statement of the first migration for the oldest server, or for
// one that is modern.
func Schema(modern bool) (string, error) {
	text, err := migrations.ReadFile("migrations/0001_entries.sql")
	if err != nil {
		return "", err
	}
	server := oldest
	if modern {
		server = proto.Version{Major: 26, Minor: 7}
	}
	return render(string(text), server)
}

// Backdate has the first Append that Sync was not called for be longer ago.
func (s *Store) Backdate(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsynced = s.unsynced.Add(-d)
}

// Apart has the store ask for labels one by one, as of a server of an earlier version.
func (s *Store) Apart() { s.joint = false }

// granules is how many an index leaves of how many.
var granules = regexp.MustCompile(`Granules: (\d+)/(\d+)`)

// Granules is how many granules of the table a query reads, by the server's plan, and
// of how many.
func (s *Store) Granules(ctx context.Context, q logstore.Query) (reads, of int, err error) {
	var a arguments
	l := lister{query: q, page: q.Limit}
	rows, err := s.conn.Query(ctx, "EXPLAIN indexes = 1 "+s.statement(&a, &l), a...)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return 0, 0, err
		}
		if found := granules.FindStringSubmatch(line); found != nil {
			reads, _ = strconv.Atoi(found[1])
			if all, _ := strconv.Atoi(found[2]); all > of {
				of = all
			}
		}
	}
	return reads, of, rows.Err()
}
