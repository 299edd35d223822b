package logstore

import "unsafe"

// view is b as a string, which is valid as long as b is not changed: entries
// are not.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
