package filter

import "selvedge.dev/sdk/event"

// judge is a filter that can judge an event by its head, most of the time.
type judge interface {
	judge(h *event.Head) (v Verdict, sure bool)
}

// Judge is the verdict of f on the event with that head, which need not be
// decoded for it. When sure is false, only the whole event can tell: f is of
// another package, or asks for CESQL or a value that has no text in the record.
func Judge(f Filter, h *event.Head) (v Verdict, sure bool) {
	if j, ok := f.(judge); ok {
		return j.judge(h)
	}
	return Fail, false
}

// text is what attributes are compared as.
type text interface{ string | []byte }

// matchHead is match of a head. It fails as soon as one pair does for sure.
func matchHead(h *event.Head, pairs []pair, test func(have []byte, want string) bool) (Verdict, bool) {
	all := true
	for _, p := range pairs {
		have, ok, sure, known := headAttribute(h, p.name)
		if !known {
			var plain bool
			have, plain, ok = h.Extension(p.name)
			sure = !ok || plain || h.Simple(p.name)
		}
		switch {
		case !sure:
			all = false
		case !ok || !test(have, p.value):
			return Fail, true
		}
	}
	return Pass, all
}

// specVersion is the version of every event that has a head.
var specVersion = []byte("1.0")

// headAttribute is contextAttribute of a head. Sure is false for an attribute
// that a head does not have as a text.
func headAttribute(h *event.Head, name string) (text []byte, ok, sure, known bool) {
	switch name {
	case "specversion":
		return specVersion, true, true, true
	case "type":
		return h.Type(), true, true, true
	case "source":
		return h.Source(), true, true, true
	case "subject":
		return h.Subject(), true, true, true
	case "id":
		return h.ID(), true, true, true
	case "dataschema", "schemaurl":
		return h.DataSchema(), true, true, true
	case "datacontenttype":
		return h.DataContentType(), true, true, true
	case "time", "datamediatype", "datacontentencoding":
		return nil, false, false, true
	}
	return nil, false, false, false
}
