// Package chain is the audit trail's arithmetic: records in a chain of hashes
// for each project, Merkle trees over them, signed checkpoints, and the
// verifier that names the first record that does not fit. It does no I/O and
// knows nothing of how a trail is kept; docs/audit-format.md says everything
// that it computes, byte for byte, so that others can compute it too.
//
// The one invariant: the hash of a record covers everything of it, its place
// and all records before it; its data is covered by a salted hash, so that the
// data can be erased and the chain still holds.
//
// Values are not changed once made. A Verifier and a Tree belong to one
// goroutine.
package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// The bounds of a record.
const (
	// MaxProject and MaxName bound the project's id, and category, type and id.
	MaxProject, MaxName = 128, 512
	// MaxData bounds the data: below what the journal takes, with its frame.
	MaxData = 4 << 20
)

// MaxRun is the most records that may follow one another in a chain without a
// checkpoint: more of them means that checkpoints were taken away.
const MaxRun = 65_536

// The domains of hashes: what is hashed for one purpose is never taken for
// another.
const (
	dataDomain   = "selvedge.dev/audit/data/v1"
	recordDomain = "selvedge.dev/audit/record/v1"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String is the hash in base64.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error { return decode(text, h[:]) }

// Salt makes the hash of data useless for guessing the data, once the salt is
// erased with it.
type Salt [16]byte

// MarshalText implements encoding.TextMarshaler.
func (s Salt) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(s[:])), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Salt) UnmarshalText(text []byte) error { return decode(text, s[:]) }

// decode reads exactly len(to) bytes of base64 in its one canonical form.
func decode(text, to []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err == nil && len(raw) != len(to) {
		err = fmt.Errorf("%d bytes instead of %d", len(raw), len(to))
	}
	if err == nil && base64.StdEncoding.EncodeToString(raw) != string(text) {
		err = errors.New("line breaks in base64")
	}
	copy(to, raw)
	return err
}

// Record is what is recorded: opaque but for these fields. Category, Type and
// ID stay when the data is erased, so nothing of a person belongs in them.
type Record struct {
	// Project is whose chain it is in.
	Project string
	// ID tells it apart from all others of the project, for good. A record
	// that is sent again has the same ID and the same Time.
	ID string
	// Time is when it happened, at nanoseconds.
	Time time.Time
	// Category is what its retention goes by; Type what its data is.
	Category, Type string
	// Data is JSON, compact.
	Data []byte
}

// Link is a record at its place in a chain.
type Link struct {
	Record
	// Seq is its number in the project's chain, from 1 on, without gaps.
	Seq uint64
	// ErasedBy is the number of the record that says why Data and Salt are gone
	// and only DataHash is left; 0 if they are there. No hash covers it: what
	// it claims is held against that record.
	ErasedBy uint64
	// Salt is random, and erased with the data.
	Salt Salt
	// DataHash is the hash of Salt and Data.
	DataHash Hash
	// Prev is the Hash of the record before it, zeros for the first.
	Prev Hash
	// Hash is the record's own, over everything but Salt and Data.
	Hash Hash
}

// Check is an error that names the field at fault.
func (r *Record) Check() error {
	bad := func(field, format string, args ...any) error {
		return &fault.Error{Name: r.ID, Kind: fault.Invalid, Reason: "AUDIT_RECORD_INVALID", Field: field, Err: fmt.Errorf(format, args...)}
	}
	if err := CheckProject(r.Project); err != nil {
		return err
	}
	for _, s := range []struct{ name, value string }{{"id", r.ID}, {"category", r.Category}, {"type", r.Type}} {
		switch {
		case s.value == "" || len(s.value) > MaxName:
			return bad(s.name, "%s has %d bytes, not 1 to %d", s.name, len(s.value), MaxName)
		case !utf8.ValidString(s.value):
			return bad(s.name, "%s is not UTF-8", s.name)
		}
	}
	switch {
	case r.Time.Before(time.Unix(0, math.MinInt64)) || r.Time.After(time.Unix(0, math.MaxInt64)) || r.Time.Year() < 1:
		return bad("time", "time is out of the range of 64 bits of nanoseconds")
	case len(r.Data) > MaxData:
		return bad("data", "data has %d bytes, more than %d", len(r.Data), MaxData)
	case !utf8.Valid(r.Data) || !json.Valid(r.Data):
		return bad("data", "data is not JSON in UTF-8")
	}
	return nil
}

// CheckProject is an error if a chain cannot be called so: letters, digits and
// -._~:@/ only, since the name is a line of checkpoints.
func CheckProject(project string) error {
	ok := project != "" && len(project) <= MaxProject
	for i := range len(project) {
		c := project[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || bytes.IndexByte([]byte("-._~:@/"), c) >= 0)
	}
	if !ok {
		return &fault.Error{Kind: fault.Invalid, Reason: "AUDIT_RECORD_INVALID", Field: "project", Err: fmt.Errorf("project %.200q is not 1 to %d letters, digits and -._~:@/", project, MaxProject)}
	}
	return nil
}

// Compact gives JSON without the spaces that mean nothing, which is how data is
// recorded: other stores may compact what they keep.
func Compact(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data))
	if json.Compact(&b, data) != nil {
		return data // Check says what is wrong with it.
	}
	return b.Bytes()
}

// Next makes the record the successor of the one whose number and hash are
// given; 0 and zeros make it the first.
func Next(r Record, salt Salt, seq uint64, prev Hash) Link {
	l := Link{Record: r, Seq: seq + 1, Salt: salt, Prev: prev}
	l.Time = time.Unix(0, r.Time.UnixNano()).UTC()
	l.DataHash = l.dataHash()
	l.Hash = l.hash()
	return l
}

// Erase is the link without its data, for the reason that record by gives.
func (l Link) Erase(by uint64) Link {
	l.Data, l.Salt, l.ErasedBy = nil, Salt{}, by
	return l
}

// SealData computes DataHash of Salt and Data, for who keeps only these.
func (l *Link) SealData() { l.DataHash = l.dataHash() }

// dataHash computes DataHash of what the link has.
func (l *Link) dataHash() Hash {
	b := make([]byte, 0, 256)
	b = appendString(b, dataDomain)
	b = append(b, l.Salt[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Data)))
	h := sha256.New()
	h.Write(b)
	h.Write(l.Data)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

// hash computes Hash of what the link has, DataHash included.
func (l *Link) hash() Hash {
	b := make([]byte, 0, 512)
	b = appendString(b, recordDomain)
	b = appendString(b, l.Project)
	b = binary.BigEndian.AppendUint64(b, l.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Time.UnixNano()))
	b = appendString(b, l.Category)
	b = appendString(b, l.Type)
	b = appendString(b, l.ID)
	b = append(b, l.DataHash[:]...)
	b = append(b, l.Prev[:]...)
	return sha256.Sum256(b)
}

// appendString appends a string with its length before it, so that no two
// lists of strings give the same bytes.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
