package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Mask reads the parameter updateMask of r: which of a resource's fields, all
// given in mutable, a PATCH sets (google.aip.dev/134). "*" means all of them.
// Without the parameter it is populated: the fields of the body that are not
// empty.
func Mask(r *http.Request, mutable, populated []string) ([]string, error) {
	q := r.URL.Query()
	if !q.Has("updateMask") {
		return populated, nil
	}
	paths := strings.Split(q.Get("updateMask"), ",")
	if slices.Equal(paths, []string{"*"}) {
		return mutable, nil
	}
	for _, p := range paths {
		if !slices.Contains(mutable, p) {
			return nil, invalid("updateMask", "INVALID_UPDATE_MASK", fmt.Errorf(`updateMask path %q must be one of %s, or the whole mask "*"`, p, strings.Join(mutable, ", ")))
		}
	}
	return paths, nil
}
