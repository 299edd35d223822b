package rest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// The bounds of a page (google.aip.dev/158): how many items one has when the
// caller does not say, and the most that it ever has.
const (
	defaultPage = 100
	maxPage     = 1000
)

// Page is the part of a list that a request asks for.
type Page struct {
	// Size is how many items the answer may have, at least 1.
	Size int
	// After is the key of the last item of the page before, "" at the start.
	After string
}

// PageOf reads the parameters pageSize and pageToken of r. A size over the
// bound is lowered to it, as google.aip.dev/158 wants.
func PageOf(r *http.Request) (Page, error) {
	q := r.URL.Query()
	p := Page{Size: defaultPage}
	if s := q.Get("pageSize"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return Page{}, invalid("pageSize", "INVALID_PAGE_SIZE", fmt.Errorf("pageSize %q is not a whole number from 0 on", s))
		}
		if n > 0 {
			p.Size = min(n, maxPage)
		}
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("pageToken"))
	if err != nil {
		return Page{}, InvalidToken()
	}
	p.After = string(after)
	return p, nil
}

// InvalidToken is the fault of a page token that was not made for the request.
func InvalidToken() error {
	return invalid("pageToken", "INVALID_PAGE_TOKEN", errors.New("pageToken is not one of this list"))
}

// Cut cuts items, of which one more than the size was asked for, to the page,
// and makes the token of the next one: "" when there is none.
func Cut[T any](p Page, items []T, key func(T) string) (page []T, next string) {
	if len(items) <= p.Size {
		return items, ""
	}
	page = items[:p.Size]
	return page, base64.RawURLEncoding.EncodeToString([]byte(key(page[p.Size-1])))
}
