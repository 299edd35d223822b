package manifests

import (
	"errors"
	"fmt"

	"selvedge.dev/sdk/fault"
)

// place is where a document is.
type place struct {
	file     string
	document int
}

// String is the place for people.
func (p place) String() string { return fmt.Sprintf("%s, document %d", p.file, p.document) }

// refuse is the error for what is wrong with the document at p.
func (p place) refuse(err error) error {
	var in *fieldError
	var field string
	if errors.As(err, &in) {
		field = in.field
	}
	return &fault.Error{
		Op: op, Name: p.file, Kind: fault.Invalid, Reason: "INVALID_MANIFEST", Field: field,
		Err: fmt.Errorf("document %d: %w", p.document, err),
	}
}

// fieldError is what is wrong with one field of a document.
type fieldError struct {
	// field is the path from the top of the document: "spec.filters[0].exact".
	field string
	err   error
}

// fieldErrorf is a fieldError with a text.
func fieldErrorf(field, format string, args ...any) error {
	return &fieldError{field, fmt.Errorf(format, args...)}
}

// Error renders the field and what is wrong with it.
func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *fieldError) Unwrap() error { return e.err }
