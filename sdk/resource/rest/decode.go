package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Decode reads the body of r, one JSON object, into the struct that v points
// to. A body over the bound is a TooLarge fault, any other that does not fit is
// an Invalid one that names the field by its path: "mappings[2].eventType".
func Decode(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &fault.Error{Op: "rest.Decode", Kind: fault.TooLarge, Field: "body", Err: fmt.Errorf("the body is over %d bytes", large.Limit)}
	case err != nil:
		return invalid("body", "UNREADABLE_BODY", fmt.Errorf("the body did not arrive whole: %w", err))
	}
	return decode(body, v)
}

// decode is Decode of the bytes of a body.
func decode(body []byte, v any) error {
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return invalid("body", "INVALID_JSON", errors.New("the body must be a JSON object"))
	}
	if err := json.Unmarshal(body, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid(wrong.Field, "WRONG_TYPE", fmt.Errorf("%s cannot be %s", wrong.Field, article(wrong.Value)))
		}
		return invalid("body", "INVALID_JSON", fmt.Errorf("the body is not valid: %w", err))
	}
	return known(json.NewDecoder(bytes.NewReader(body)), reflect.TypeOf(v).Elem(), "")
}

// article puts "a" before what encoding/json calls a value.
func article(value string) string {
	if strings.HasPrefix(value, "array") || strings.HasPrefix(value, "object") {
		return "an " + value
	}
	return "a " + value
}

// known walks the next value of dec beside the type that it was decoded into,
// and refuses an object's key that the type does not have in that very
// spelling, or that comes twice. The value is known to be valid JSON that fits
// the type, of a depth that encoding/json bounds.
func known(dec *json.Decoder, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := dec.Token()
	if err != nil {
		return invalid(path, "INVALID_JSON", err)
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return invalid(path, "INVALID_JSON", err)
			}
			name := key.(string) // the grammar has nothing else here
			at := strings.TrimPrefix(path+"."+name, ".")
			member, ok := memberType(t, name)
			switch {
			case !ok:
				return invalid(at, "UNKNOWN_FIELD", fmt.Errorf("there is no field %s", at))
			case seen[name]:
				return invalid(at, "REPEATED_FIELD", fmt.Errorf("the field %s comes twice", at))
			}
			seen[name] = true
			if err := known(dec, member, at); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; dec.More(); i++ {
			if err := known(dec, t.Elem(), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

// memberType is the type of the member name of an object of type t.
func memberType(t reflect.Type, name string) (reflect.Type, bool) {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), true
	case reflect.Struct:
		for i := range t.NumField() {
			tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if tag == name {
				return t.Field(i).Type, true
			}
		}
	}
	return nil, false
}
