package logstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/jsonscan"
)

// CompactJSON makes a JSON object that was written as a Payload's or an Entry's
// Extra: without white space between what it says. An object that has a member
// twice, that is nested too deep or that is none is an error.
func CompactJSON(object []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(object))
	err := json.Compact(&b, object)
	if err == nil {
		err = checkJSON(b.Bytes(), nil)
	}
	if err != nil {
		return nil, &fault.Error{Op: "logstore.CompactJSON", Kind: fault.Invalid, Reason: "INVALID_JSON", Err: err}
	}
	return b.Bytes(), nil
}

// checkJSON is an error unless data is a compact JSON object in UTF-8 in which
// no member is twice. If of is not nil it may have only those members.
func checkJSON(data []byte, of []string) error {
	switch {
	case len(data) == 0 || data[0] != '{':
		return errors.New("is no JSON object")
	case !utf8.Valid(data):
		return errors.New("is not UTF-8")
	case !compact(data):
		return errors.New("has white space between its members")
	}
	s := jsonscan.New(data)
	if err := checkObject(&s, of); err != nil {
		return err
	}
	return s.End()
}

// compact reports whether there is no white space outside of strings.
func compact(data []byte) bool {
	inside := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inside = !inside
		case c == '\\':
			i++ // stands only in strings
		case !inside && c <= ' ':
			return false
		}
	}
	return true
}

// checkObject consumes an object and finds members that are there twice.
func checkObject(s *jsonscan.Scanner, of []string) error {
	if err := s.Open('{'); err != nil {
		return err
	}
	var few [16]string // up to so many looking at all is faster than a map
	names := few[:0]
	var many map[string]bool
	for first := true; ; first = false {
		more, err := s.Next(first, '}')
		if err != nil || !more {
			return err
		}
		key, err := s.Key()
		if err != nil {
			return err
		}
		name := view(key)
		if many[name] || many == nil && slices.Contains(names, name) {
			return fmt.Errorf("has the member %q twice", name)
		}
		if of != nil && !slices.Contains(of, name) {
			return fmt.Errorf("has the member %q, which is none of an entry", name)
		}
		if names = append(names, name); len(names) == len(few) {
			many = make(map[string]bool, 2*len(few))
			for _, n := range names {
				many[n] = true
			}
		} else if many != nil {
			many[name] = true
		}
		if err := checkValue(s); err != nil {
			return err
		}
	}
}

// checkValue consumes a value.
func checkValue(s *jsonscan.Scanner) error {
	switch s.Peek() {
	case '{':
		return checkObject(s, nil)
	case '[':
		return s.Array(func() error { return checkValue(s) })
	}
	return s.Skip()
}

// eachMember calls f with the name and the text of every member of an object.
func eachMember(object []byte, f func(name string, value []byte) error) error {
	s := jsonscan.New(object)
	return s.Object(func(name []byte) error {
		value, err := s.Value()
		if err != nil {
			return err
		}
		return f(string(name), value)
	})
}
