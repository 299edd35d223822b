package audit

import (
	"errors"
	"fmt"
	"strconv"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// The labels that a record has as an entry of a log: with them its copy in a
// log store can be held against the chain.
const (
	labelSeq      = "audit.selvedge.dev/seq"
	labelCategory = "audit.selvedge.dev/category"
	labelType     = "audit.selvedge.dev/type"
	labelSalt     = "audit.selvedge.dev/salt"
	labelPrev     = "audit.selvedge.dev/prev"
	labelHash     = "audit.selvedge.dev/hash"
)

// ToEntry makes an entry of a log of a record whose data is a JSON object. Who
// stores it sets Bucket, Log, Received, and what else there is to say.
func ToEntry(l *Link) (logstore.Entry, error) {
	if l.ErasedBy != 0 || len(l.Data) == 0 || l.Data[0] != '{' {
		return logstore.Entry{}, &fault.Error{Op: "audit.ToEntry", Name: l.ID, Kind: fault.Invalid, Err: errors.New("the record's data is erased or is no JSON object")}
	}
	salt, _ := l.Salt.MarshalText() // never fails
	return logstore.Entry{
		Project: l.Project, Time: l.Time, InsertID: l.ID, Payload: logstore.Payload{Kind: logstore.JSON, Data: l.Data},
		Labels: map[string]string{
			labelSeq: strconv.FormatUint(l.Seq, 10), labelCategory: l.Category, labelType: l.Type,
			labelSalt: string(salt), labelPrev: l.Prev.String(), labelHash: l.Hash.String(),
		},
	}, nil
}

// FromEntry is the inverse of ToEntry: the record as a log store gave it back,
// for chain.Verify, with Bare set.
func FromEntry(e *logstore.Entry) (Link, error) {
	l := Link{Record: Record{
		Project: e.Project, ID: e.InsertID, Time: e.Time.UTC(),
		Category: e.Labels[labelCategory], Type: e.Labels[labelType], Data: e.Payload.Data,
	}}
	var err error
	if l.Seq, err = strconv.ParseUint(e.Labels[labelSeq], 10, 64); err == nil {
		err = errors.Join(l.Salt.UnmarshalText([]byte(e.Labels[labelSalt])), l.Prev.UnmarshalText([]byte(e.Labels[labelPrev])), l.Hash.UnmarshalText([]byte(e.Labels[labelHash])))
	}
	if err != nil {
		return l, &chain.Finding{Project: e.Project, What: chain.Damaged, Seq: l.Seq, Detail: fmt.Sprintf("the labels of entry %q: %v", e.InsertID, err)}
	}
	l.SealData()
	return l, nil
}
