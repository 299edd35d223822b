package clickhouse

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
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
