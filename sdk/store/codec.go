package store

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// maxBody bounds an encoded object: what a request may be.
const maxBody = 4 << 20

// versionBase is the base of versions as text, which are opaque.
const versionBase = 36

// FormatVersion is a version as metadata.resource_version has it; "" for 0.
func FormatVersion(v Seq) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(v), versionBase)
}

// ParseVersion reads what FormatVersion made; "" is 0, which is any. Other text
// is an Invalid fault.
func ParseVersion(s string) (Seq, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, versionBase, 64)
	if err != nil || n < 1 || FormatVersion(Seq(n)) != s {
		return 0, &fault.Error{Op: "store.ParseVersion", Kind: fault.Invalid, Reason: "INVALID_VERSION", Field: "metadata.resource_version", Err: errors.New("it is no version that a resource had")}
	}
	return Seq(n), nil
}

// Decode is the object of a record, with its version.
func Decode(r *schema.Resource, rec *Record) (proto.Message, error) {
	m := r.New()
	if err := proto.Unmarshal(rec.Body, m); err != nil {
		return nil, &fault.Error{Op: "store.Decode", Name: string(rec.Name), Kind: fault.Internal, Reason: "DAMAGED", Err: err}
	}
	setVersion(r, m, rec.Version)
	return m, nil
}

// setVersion sets the version in an object, if it is one with metadata.
func setVersion(r *schema.Resource, m proto.Message, v Seq) {
	if r.Metadata != nil {
		r.MetadataOf(m).ResourceVersion = FormatVersion(v)
	}
}

// encode is the record of an object.
func encode(r *schema.Resource, m proto.Message) (*Record, error) {
	rec := &Record{Type: r.Type, Name: r.NameOf(m)}
	if r.Metadata != nil {
		md := r.MetadataOf(m)
		md.ResourceVersion = ""
		rec.UID = md.GetUid()
		rec.Deleting = md.GetLifecycle().GetState() == resourcev1.Lifecycle_DELETING
	}
	var err error
	rec.Body, err = proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, &fault.Error{Op: "store.Save", Name: string(rec.Name), Kind: fault.Invalid, Reason: "NOT_ENCODABLE", Err: err}
	}
	if len(rec.Body) > maxBody {
		return nil, &fault.Error{
			Op: "store.Save", Name: string(rec.Name), Kind: fault.TooLarge, Reason: "RESOURCE_TOO_LARGE",
			Err: fmt.Errorf("a resource has at most %d bytes, not %d", maxBody, len(rec.Body)),
		}
	}
	return rec, nil
}
