package service

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// projection is how much of an object a response has.
type projection struct {
	typ *typ
	// named is the name alone.
	named bool
	// mask, if there is one, is what is shown.
	mask fieldmask.Mask
	// without, if there is no mask, is what is not.
	without []fieldpath.Path
}

// part reports whether little of an object is shown, so that it is better
// picked than the rest thrown away.
func (p projection) part() bool { return p.named || !p.mask.IsZero() }

// projection is what a read asks for, by its mask (google.aip.dev/157) or else
// by its view. Secrets are for Get and BatchGet with the view FULL, which is
// theirs by default; there is no other way to them.
func (c *call) projection() (projection, error) {
	t, p := c.m.typ, projection{typ: c.m.typ}
	one := c.m.Verb == resourcev1.Method_GET || c.m.Verb == resourcev1.Method_BATCH_GET
	view := resourcev1.View_VIEW_UNSPECIFIED
	if c.m.view != nil {
		view = resourcev1.View(c.req.Get(c.m.view).Enum())
	}
	if _, known := resourcev1.View_name[int32(view)]; !known {
		return p, invalid("service.View", "INVALID_FIELD", "view", fmt.Errorf("there is no view %d", view))
	}
	if view == resourcev1.View_VIEW_UNSPECIFIED && one {
		view = resourcev1.View_FULL
	}
	if view != resourcev1.View_FULL || !one {
		p.without = t.Secrets
	}
	if texts := paths(c.req, c.m.readMask); len(texts) > 0 {
		mask, err := parseMask(t, "read_mask", texts)
		if len(p.without) > 0 && err == nil {
			mask = fieldmask.Subtract(mask, t.secrets)
		}
		p.mask = mask
		return p, err
	}
	switch view {
	case resourcev1.View_NAME:
		p.named = true
	case resourcev1.View_BASIC, resourcev1.View_VIEW_UNSPECIFIED:
		p.without = t.basic
	case resourcev1.View_DETAIL, resourcev1.View_FULL:
	}
	return p, nil
}

// apply is the part of an object that is shown. The object is as it was if a
// part is shown, and is not to be used any more: the two share what they have
// in common.
func (p projection) apply(m proto.Message) proto.Message {
	switch {
	case p.named:
		out := p.typ.New()
		p.typ.SetName(out, p.typ.NameOf(m))
		return out
	case !p.mask.IsZero():
		return fieldmask.Project(p.mask, m)
	}
	p.typ.hide(m, p.without)
	return m
}

// hide clears fields of an object.
func (t *typ) hide(m proto.Message, fields []fieldpath.Path) {
	for _, f := range fields {
		f.Clear(m.ProtoReflect())
	}
}

// parseMask is the mask of the paths in a field of a request.
func parseMask(t *typ, field string, texts []string) (fieldmask.Mask, error) {
	mask, err := fieldmask.Parse(t.Message.Descriptor(), &fieldmaskpb.FieldMask{Paths: texts})
	return mask, atField(field, err)
}
