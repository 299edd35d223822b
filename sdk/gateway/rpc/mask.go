package rpc

import (
	"net/http"
	"strings"
)

// maskParams are the query parameters that are field masks.
var maskParams = map[string]string{
	"readMask": "read_mask.paths", "read_mask": "read_mask.paths", "updateMask": "update_mask.paths", "update_mask": "update_mask.paths",
}

// masks hands field masks in query parameters on as they are written. The JSON
// form of a mask, which they would be read as otherwise, has no "*" and takes
// capital letters in map keys for word boundaries.
func masks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.RawQuery, "ask=") {
			next.ServeHTTP(w, r)
			return
		}
		q := r.URL.Query()
		for name, to := range maskParams {
			values, ok := q[name]
			if !ok {
				continue
			}
			q.Del(name)
			for _, v := range values {
				q[to] = append(q[to], splitMask(v)...)
			}
		}
		u := *r.URL
		u.RawQuery = q.Encode()
		r = r.WithContext(r.Context())
		r.URL = &u
		next.ServeHTTP(w, r)
	})
}

// splitMask cuts a mask at its commas, but for those in quoted map keys.
func splitMask(s string) []string {
	var paths []string
	quoted, begin := false, 0
	for i, c := range []byte(s) {
		switch {
		case c == '`':
			quoted = !quoted
		case c == ',' && !quoted:
			paths, begin = append(paths, s[begin:i]), i+1
		}
	}
	return append(paths, s[begin:])
}
