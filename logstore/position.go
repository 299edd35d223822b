package logstore

import (
	"cmp"
	"time"
)

// Position is where the entry stands among its project's.
func (e *Entry) Position() Position {
	return Position{Time: e.Time, InsertID: e.InsertID, Log: e.Log, Bucket: e.Bucket}
}

// IsZero reports whether p is before all entries.
func (p Position) IsZero() bool {
	return p.Time.IsZero() && p.InsertID == "" && p.Log == "" && p.Bucket == ""
}

// Compare is negative if p is before q in the order of time, 0 if they are
// the same. Texts are compared byte by byte.
func (p Position) Compare(q Position) int {
	return cmp.Or(p.Time.Compare(q.Time), cmp.Compare(p.InsertID, q.InsertID), cmp.Compare(p.Log, q.Log), cmp.Compare(p.Bucket, q.Bucket))
}

// Follows reports whether an entry at p belongs to the page, that is, comes
// after Query.After in the query's order.
func (q *Query) Follows(p Position) bool {
	switch c := p.Compare(q.After); {
	case q.After.IsZero():
		return true
	case q.Descending:
		return c < 0
	default:
		return c > 0
	}
}

// Day is the begin of t's day in UTC, by which entries are deleted.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
