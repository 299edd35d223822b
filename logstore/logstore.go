// Package logstore holds the nouns of the records engine: entries of logs, the
// one interface for keeping them, and Match, which says what a filter means.
//
// Its parts: filter is the query language, memory the store that all others
// are compared with, embedded (VictoriaLogs' storage in the process) and
// clickhouse the ones that are used, logstoretest what each of them must pass,
// intake what makes entries durable before they are acknowledged and hands
// them to a store once. audit is the trail that cannot be altered unseen.
package logstore

import (
	"context"
	"io"
	"time"

	"selvedge.dev/logstore/filter"
)

// Entry is one entry of a log: what Google calls a LogEntry
// (cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry), as it is kept.
// An entry is not changed once it has been handed to a Store.
type Entry struct {
	// Project is the id of the project whose entry it is; never "".
	Project string
	// Bucket is the id of the bucket that it is kept in, which says who may
	// read it and for how long it is kept; never "".
	Bucket string
	// Log is the log's id, decoded: "syslog", "selvedge.dev/activity"; never "".
	Log string
	// Time is when it happened, in UTC, at nanoseconds; Received when it was
	// taken in. Neither is zero.
	Time, Received time.Time
	// InsertID tells apart entries of one log and one time; never "". Two
	// with the same project, bucket, log, time and insert id are one entry.
	InsertID string
	// Severity is how bad it is; 0 is not said.
	Severity Severity
	// ResourceType and ResourceLabels are what it is about: "device", and
	// which one.
	ResourceType   string
	ResourceLabels map[string]string
	// Labels are the writer's; nil and empty are the same.
	Labels map[string]string
	// Trace is the resource name of a trace or its id, SpanID the span's.
	Trace, SpanID string
	// TraceSampled says that the trace was kept.
	TraceSampled bool
	// Payload is what it says.
	Payload Payload
	// Extra is a JSON object with those of httpRequest, operation,
	// sourceLocation, split, errorGroups that the entry has, in their form in
	// JSON; nil if there are none.
	Extra []byte
	// Origin and Seq are where the entry was journalled: the intake's id and
	// its number there. They are different for any two entries of a store and
	// are what a store is asked for after a crash.
	Origin string
	Seq    uint64
}

// Kind is the kind of a Payload.
type Kind uint8

// The kinds of payloads.
const (
	// Text is UTF-8.
	Text Kind = iota + 1
	// JSON is a JSON object.
	JSON
	// Proto is a message in a google.protobuf.Any: TypeURL, and in Data the
	// message's JSON form if the platform knows its type. Its fields are
	// protoPayload.F.
	Proto
	// Bytes are bytes that nothing is known of.
	Bytes
)

// Payload is what an entry says.
type Payload struct {
	// Kind says what Data is; 0 is no payload, and Data is nil.
	Kind Kind
	// TypeURL is the message's type if Kind is Proto.
	TypeURL string
	// Data is the text, the JSON object as it was written but compacted, the
	// message as JSON object, or the bytes.
	Data []byte
	// Wire is the message's encoding if Kind is Proto and its type is not
	// known, and then Data is nil.
	Wire []byte
}

// Severity is Google's LogSeverity. Values between the names are allowed.
type Severity int32

// The severities that have names.
const (
	Default   Severity = 0
	Debug     Severity = 100
	Info      Severity = 200
	Notice    Severity = 300
	Warning   Severity = 400
	Error     Severity = 500
	Critical  Severity = 600
	Alert     Severity = 700
	Emergency Severity = 800
)

// Selection says which entries of one project.
type Selection struct {
	// Project is the project's id; never "".
	Project string
	// Buckets are those to look in; nil is all of the project. Who asks for
	// a caller names the buckets that the caller may read.
	Buckets []string
	// From and To bound the entries' times: From is in, To is not. Zero is
	// no bound, which is slow on a large store.
	From, To time.Time
	// Filter selects among them; nil is all.
	Filter filter.Expr
}

// Query selects a page of entries.
type Query struct {
	Selection
	// Descending gives the newest first.
	Descending bool
	// Limit is the most entries to give, 1 to MaxLimit.
	Limit int
	// After is the position of the last entry before the page, in the query's
	// order; the zero Position is before all.
	After Position
}

// MaxLimit is the most that Query.Limit may be.
const MaxLimit = 10_000

// Position is the place of an entry in the one order of a project's entries:
// by Time, then InsertID, then Log, then Bucket.
type Position struct {
	Time                  time.Time
	InsertID, Log, Bucket string
}

// Counting says what to count.
type Counting struct {
	Selection
	// Interval is the width of the bars: those that begin at multiples of
	// it since 1970 in UTC. 0 is one bar of everything.
	Interval time.Duration
	// By are up to four fields to count by, as paths of filter.Comparison;
	// nil counts all together.
	By [][]string
	// Limit is the most groups to give, the largest first; 0 is MaxGroups.
	Limit int
}

// MaxGroups is the most that Counting.Limit may be.
const MaxGroups = 10_000

// Group is one number of a count.
type Group struct {
	// Start is when the bar begins; zero if there is one of everything.
	Start time.Time
	// Values are those of Counting.By, "" where an entry has no such field.
	Values []string
	// Entries is how many there are, never 0.
	Entries int64
}

// Usage is what a bucket holds of a day.
type Usage struct {
	Project, Bucket string
	// Day is its begin in UTC.
	Day time.Time
	// Entries and Bytes are how many there are and about how much they take,
	// before compression.
	Entries, Bytes int64
}

// Deletion says which entries to delete: those of whole days. It is how
// retention is done; single entries cannot be deleted.
type Deletion struct {
	Project, Bucket string
	// Before is the begin of the first day that stays, in UTC.
	Before time.Time
}

// Reader finds entries.
type Reader interface {
	// List gives a page of entries in the query's order: fewer than
	// Query.Limit only if there are no more, or if they would be more than
	// 16 MiB, but at least one if there is one. Entries of one project,
	// bucket, log, time and insert id come once; if they differ in something
	// else, which of them comes is not said. A query that needs more time
	// or memory than the store allows is an Exhausted error that says what
	// would help.
	List(ctx context.Context, q Query) ([]Entry, error)
	// Count counts entries, by bar in the order of time, then by Entries,
	// the most first, then by Values.
	Count(ctx context.Context, c Counting) ([]Group, error)
}

// Writer takes entries in.
type Writer interface {
	// Append adds entries, which are valid (Entry.Check) and at most 32 MiB.
	// They may be found when it returns, and are durable once Sync was
	// called. After an error some of them may be there: ask with Since. The slice
	// is not used after the return.
	Append(ctx context.Context, entries []Entry) error
	// Sync makes durable what Append has returned for. It is an error if some of
	// that may have been lost since, as by a server that has restarted.
	Sync(ctx context.Context) error
	// Since gives the numbers of the entries of an origin that are there and
	// are seq or more, ascending. They are what need not be appended again;
	// that of an entry which was there under another number may be missing.
	Since(ctx context.Context, origin string, seq uint64) ([]uint64, error)
}

// Keeper looks after what is kept.
type Keeper interface {
	// Usage gives what there is, by project, bucket and day, ascending.
	// Project "" is all projects.
	Usage(ctx context.Context, project string) ([]Usage, error)
	// Delete deletes; what it deleted is not found once it returned. Deleting
	// what is not there is no error.
	Delete(ctx context.Context, d Deletion) error
}

// Store keeps entries. All methods may be called concurrently.
type Store interface {
	Reader
	Writer
	Keeper
	// Close releases the store; what was appended is durable.
	io.Closer
}
