package event

import (
	"encoding/binary"
	"net/url"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// plainURL is the length of the host of s, a URL of the form "//HOST/PATH" with
// no byte that a URL could mean anything by; false is any other. Nearly every
// source is one.
func plainURL(s string) (host int, ok bool) {
	if len(s) < 4 || s[0] != '/' || s[1] != '/' || s[2] == '/' {
		return 0, false
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			if host == 0 {
				host = i - 2
			}
		case !unreserved(c):
			return 0, false
		}
	}
	return host, host > 0
}

// unreserved reports whether a byte of a URL means itself wherever it is (RFC
// 3986, 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// parseURL is url.Parse into u.
func parseURL(u *url.URL, s string) error {
	if host, ok := plainURL(s); ok {
		*u = url.URL{Host: s[2 : 2+host], Path: s[2+host:]}
		return nil
	}
	parsed, err := url.Parse(s)
	if err != nil {
		return err
	}
	*u = *parsed
	return nil
}

// appendURL is appendString of the text of u.
func appendURL(dst []byte, u *url.URL) []byte {
	if !isPlain(u) {
		return appendString(dst, u.String())
	}
	dst = binary.AppendUvarint(dst, uint64(len("//")+len(u.Host)+len(u.Path)))
	return append(append(append(dst, "//"...), u.Host...), u.Path...)
}

// isPlain reports whether u is what parseURL makes of a plain URL.
func isPlain(u *url.URL) bool {
	if u.Host == "" || u.Path == "" || u.Path[0] != '/' || *u != (url.URL{Host: u.Host, Path: u.Path}) {
		return false
	}
	for i := range len(u.Host) {
		if !unreserved(u.Host[i]) {
			return false
		}
	}
	for i := range len(u.Path) {
		if c := u.Path[i]; c != '/' && !unreserved(c) {
			return false
		}
	}
	return true
}

// SourceOf is the source of e, as e.Source is, at a fifth of its cost.
func SourceOf(e *Event) string {
	if v1, is := e.Context.(*ce.EventContextV1); is && isPlain(&v1.Source.URL) {
		return "//" + v1.Source.Host + v1.Source.Path
	}
	return e.Source()
}

// AppendSource appends the source of e to dst.
func AppendSource(dst []byte, e *Event) []byte {
	if v1, is := e.Context.(*ce.EventContextV1); is && isPlain(&v1.Source.URL) {
		return append(append(append(dst, "//"...), v1.Source.Host...), v1.Source.Path...)
	}
	return append(dst, e.Source()...)
}
