package manifests

import (
	"io/fs"
	"path"

	"selvedge.dev/sdk/fault"
)

const (
	// op is the Op of this package's errors.
	op = "triggers/manifests.Load"
	// apiVersion is the only version that is read.
	apiVersion = "eventing.knative.dev/v1"
)

// Load reads every *.yaml and *.yml file of the systems and checks them as one
// set, so that a trigger of one may name a broker of another. An error that
// lies in a document is fault.Invalid: its Name is the file, its Field the path
// in the document, and its text has both and the document's number, counted
// from 1 over those that are not empty. The first error ends the load.
func Load(systems ...fs.FS) (Set, error) {
	l := loader{seen: map[key]place{}}
	for _, fsys := range systems {
		if err := l.walk(fsys); err != nil {
			return Set{}, err
		}
	}
	if err := l.checkBrokers(); err != nil {
		return Set{}, err
	}
	return l.set, nil
}

// key is what makes an object the same as another.
type key struct{ kind, namespace, name string }

// loader collects the documents of a Load.
type loader struct {
	set Set
	// seen has the place of every object so far.
	seen map[key]place
}

// walk reads the files of one system, in the order of their names.
func (l *loader) walk(fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return &fault.Error{Op: op, Name: name, Kind: fault.Internal, Err: err}
		}
		if ext := path.Ext(name); entry.IsDir() || (ext != ".yaml" && ext != ".yml") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return &fault.Error{Op: op, Name: name, Kind: fault.Internal, Err: err}
		}
		return l.file(name, text)
	})
}

// file reads the documents of one file.
func (l *loader) file(name string, text []byte) error {
	at := place{file: name}
	for _, chunk := range split(text) {
		doc, err := decode(chunk)
		if err == nil && doc.fields == nil {
			continue
		}
		at.document++
		if err == nil {
			err = l.document(at, doc)
		}
		if err != nil {
			return at.refuse(err)
		}
	}
	return nil
}

// document reads one document by its kind.
func (l *loader) document(at place, doc document) error {
	if v := doc.fields["apiVersion"]; v != apiVersion {
		return fieldErrorf("apiVersion", "%v is not %s", v, apiVersion)
	}
	switch kind := doc.fields["kind"]; kind {
	case "Broker":
		b, err := readBroker(doc)
		if err != nil {
			return err
		}
		l.set.Brokers = append(l.set.Brokers, b)
		return l.claim(at, key{"Broker", b.Namespace, b.Name})
	case "Trigger":
		t, err := readTrigger(doc)
		if err != nil {
			return err
		}
		l.set.Triggers = append(l.set.Triggers, t)
		return l.claim(at, key{"Trigger", t.Namespace, t.Name})
	default:
		return fieldErrorf("kind", "%v is neither Broker nor Trigger", kind)
	}
}

// claim refuses a second object of one kind and name.
func (l *loader) claim(at place, k key) error {
	if first, taken := l.seen[k]; taken {
		return fieldErrorf("metadata.name", "%s %s/%s is already in %s", k.kind, k.namespace, k.name, first)
	}
	l.seen[k] = at
	return nil
}

// checkBrokers refuses a trigger whose broker is not in the set.
func (l *loader) checkBrokers() error {
	for _, t := range l.set.Triggers {
		if _, known := l.seen[key{"Broker", t.Namespace, t.Broker}]; !known {
			at := l.seen[key{"Trigger", t.Namespace, t.Name}]
			return at.refuse(fieldErrorf("spec.broker", "no Broker %s/%s is declared", t.Namespace, t.Broker))
		}
	}
	return nil
}
