package ingest

import (
	"errors"
	"strconv"

	"selvedge.dev/sdk/jsonscan"
)

// walker visits the scalars of a JSON object with their paths. The path of a
// member is its names from the outermost to its own, with slashes between;
// an element of an array is named by its index from 0: "cpu/0/used". A slash
// in a name stays as it is.
type walker struct {
	jsonscan.Scanner
	// path is the path of the value in hand, with a slash before every name.
	path []byte
}

// errNoObject is the error of data that is JSON, but no object.
var errNoObject = errors.New("the data is not a JSON object")

// walk consumes the whole text, which must be one object. The path that visit
// gets is valid until visit returns.
func (w *walker) walk(visit func(path []byte, v scalar)) error {
	if c := w.Peek(); c != '{' {
		// Say that it is malformed rather than no object if it is both.
		if err := w.Skip(); err != nil {
			return err
		}
		if err := w.End(); err != nil {
			return err
		}
		return errNoObject
	}
	if err := w.members(visit); err != nil {
		return err
	}
	return w.End()
}

// value consumes one value.
func (w *walker) value(visit func([]byte, scalar)) error {
	switch w.Peek() {
	case '{':
		return w.members(visit)
	case '[':
		return w.elements(visit)
	}
	v, err := w.Scalar()
	if err != nil {
		return err
	}
	visit(w.path[1:], scalar(v))
	return nil
}

// members consumes an object.
func (w *walker) members(visit func([]byte, scalar)) error {
	if err := w.Open('{'); err != nil {
		return err
	}
	parent := len(w.path)
	for first := true; ; first = false {
		more, err := w.Next(first, '}')
		if err != nil || !more {
			return err
		}
		name, err := w.Key()
		if err != nil {
			return err
		}
		w.path = append(append(w.path, '/'), name...)
		if err := w.value(visit); err != nil {
			return err
		}
		w.path = w.path[:parent]
	}
}

// elements consumes an array.
func (w *walker) elements(visit func([]byte, scalar)) error {
	if err := w.Open('['); err != nil {
		return err
	}
	parent := len(w.path)
	for i := 0; ; i++ {
		more, err := w.Next(i == 0, ']')
		if err != nil || !more {
			return err
		}
		w.path = strconv.AppendInt(append(w.path, '/'), int64(i), 10)
		if err := w.value(visit); err != nil {
			return err
		}
		w.path = w.path[:parent]
	}
}
