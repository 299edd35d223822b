package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// typed is a message of a type that has a URL.
type typed interface {
	GetTypeUrl() string
	GetValue() []byte
}

// difference is a change with what differs.
type difference struct {
	store.Change
	// typ is nil of a type that is no more; then nothing is known of what differs.
	typ *schema.Resource
	// was and is are the objects without secrets, nil for none.
	was, is proto.Message
	differ  []fieldpath.Path
	paths   []string
	// idle is whether nothing differs but what is in no record.
	idle bool
	// before and after have what differs, as JSON; nil for no object.
	before, after []byte
}

// difference finds what differs in a change.
func (r *Relay) difference(c store.Change) (*difference, error) {
	d := &difference{Change: c}
	var ok bool
	if d.typ, ok = r.st.Types().Type(c.Type); !ok {
		return d, nil
	}
	was, is := d.typ.New(), d.typ.New()
	for m, body := range map[proto.Message][]byte{was: c.Before, is: c.After} {
		if err := proto.Unmarshal(body, m); err != nil {
			return nil, fmt.Errorf("audit: decoding %s: %w", c.Name, err)
		}
	}
	hidden := d.typ.Secrets
	if len(d.typ.Volatile) > 0 {
		if d.idle = c.Before != nil && c.After != nil && onlyVolatile(d.typ, was, is); d.idle {
			return d, nil
		}
		hidden = append(slices.Clone(hidden), d.typ.Volatile...)
	}
	mask := fieldmask.Diff(was, is)
	d.differ = mask.Paths()
	if len(d.typ.Volatile) > 0 {
		d.differ = slices.DeleteFunc(d.differ, func(p fieldpath.Path) bool { return in(d.typ.Volatile, p) })
		mask = fieldmask.New(d.typ.Message.Descriptor(), d.differ...)
	}
	for _, p := range d.differ {
		d.paths = append(d.paths, p.String())
	}
	var err error
	if c.Before != nil {
		d.was = fieldmask.Redact(was, hidden)
		if d.before, err = jsonOf(fieldmask.Project(mask, d.was)); err != nil {
			return nil, err
		}
	}
	if c.After != nil {
		d.is = fieldmask.Redact(is, hidden)
		if d.after, err = jsonOf(fieldmask.Project(mask, d.is)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// object is the object after the change, or before its deletion.
func (d *difference) object() proto.Message {
	if d.is != nil {
		return d.is
	}
	return d.was
}

// verb is what was done.
func (d *difference) verb() resourcev1.ResourceChangeLog_Verb {
	switch {
	case d.Before == nil:
		return resourcev1.ResourceChangeLog_CREATED
	case d.After == nil:
		return resourcev1.ResourceChangeLog_DELETED
	}
	return resourcev1.ResourceChangeLog_UPDATED
}

// category is what kind of change it is: an update is one of the spec if
// anything of that differs, else of the state, else of metadata.
func (d *difference) category() resourcev1.ActivityLog_Category {
	switch d.verb() {
	case resourcev1.ResourceChangeLog_CREATED:
		return resourcev1.ActivityLog_CREATION
	case resourcev1.ResourceChangeLog_DELETED:
		return resourcev1.ActivityLog_DELETION
	case resourcev1.ResourceChangeLog_VERB_UNSPECIFIED, resourcev1.ResourceChangeLog_UPDATED:
	}
	if d.typ == nil {
		return resourcev1.ActivityLog_SPEC_UPDATE
	}
	category := resourcev1.ActivityLog_META_UPDATE
	for _, p := range d.differ {
		switch {
		case in(d.typ.Meta, p):
		case in(d.typ.State, p):
			category = resourcev1.ActivityLog_STATE_UPDATE
		default:
			return resourcev1.ActivityLog_SPEC_UPDATE
		}
	}
	return category
}

// in reports whether one of the paths is p, or covers it.
func in(all []fieldpath.Path, p fieldpath.Path) bool {
	return slices.ContainsFunc(all, func(a fieldpath.Path) bool { return fieldpath.Covers(a, p) })
}

// message is the message of a note as JSON.
func (r *Relay) message(a typed) ([]byte, error) {
	name := protoreflect.FullName(strings.TrimPrefix(a.GetTypeUrl(), typePrefix))
	mt, err := r.messageType(name)
	if err != nil {
		return nil, err
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(a.GetValue(), m); err != nil {
		return nil, fmt.Errorf("audit: reading a %s: %w", name, err)
	}
	return jsonOf(m)
}

// messageType is the type of messages of that name: one of a method of the
// store's services, which may be known by their descriptors alone, or one that
// the program knows.
func (r *Relay) messageType(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if mt, err := protoregistry.GlobalTypes.FindMessageByName(name); err == nil {
		return mt, nil
	}
	for _, s := range r.st.Types().Services() {
		for _, m := range s.Methods {
			for _, mt := range []protoreflect.MessageType{m.Input, m.Output} {
				if mt.Descriptor().FullName() == name {
					return mt, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("audit: there is no message %s", name)
}

// protoreflectName is a full name as descriptors have it.
func protoreflectName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

// timestamp is a time as a message.
func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// jsonOf is a message as compact JSON, which is the same whenever it is made.
func jsonOf(m proto.Message) ([]byte, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("audit: encoding a %s: %w", fullName(m), err)
	}
	var out bytes.Buffer
	out.Grow(len(b))
	if err := json.Compact(&out, b); err != nil {
		return nil, fmt.Errorf("audit: encoding a %s: %w", fullName(m), err)
	}
	return out.Bytes(), nil
}

// member is a member of an object in JSON; one of nil is left out.
type member struct {
	name string
	json []byte
}

// encode is a record as JSON, with members that are objects themselves: so they
// need not be made messages first.
func encode(m proto.Message, extra []member) ([]byte, error) {
	b, err := jsonOf(m)
	if err != nil {
		return nil, err
	}
	for _, x := range extra {
		if x.json == nil {
			continue
		}
		b = b[:len(b)-1]
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), x.name...), '"', ':')
		b = append(append(b, x.json...), '}')
	}
	return b, nil
}

// textsFit reports whether texts have at most so many bytes.
func textsFit(texts []string, n int) bool {
	for _, t := range texts {
		n -= len(t)
	}
	return n >= 0
}
