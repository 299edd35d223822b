// Package resource holds the names of resources in the form of
// google.aip.dev/122: "projects/P", "projects/P/devices/D". A [Pattern] says
// which names there are of one type, and parsing by it is the one way to a
// [Name] from text that came from outside. It depends on nothing but the
// standard library and the faults, since devices import it.
//
// Everything here is a value and safe for concurrent use.
package resource

import "strings"

// Name is the full name of a resource, relative to the service: no leading or
// trailing slash. Its methods expect a name that a [Pattern] made; on other
// text they return some part of it, or "".
type Name string

// Project is the id of the project that the resource is or belongs to, "" when
// it is in no project.
func (n Name) Project() string {
	rest, ok := strings.CutPrefix(string(n), "projects/")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}

// ID is the last segment: "d1" of "projects/p/devices/d1".
func (n Name) ID() string {
	return string(n[strings.LastIndexByte(string(n), '/')+1:])
}

// Collection is the segment before the last: "devices" of
// "projects/p/devices/d1".
func (n Name) Collection() string {
	i := strings.LastIndexByte(string(n), '/')
	if i < 0 {
		return ""
	}
	return Name(n[:i]).ID()
}

// Parent is the name without collection and id: "projects/p" of
// "projects/p/devices/d1", "" of "projects/p".
func (n Name) Parent() Name {
	for range 2 {
		n = n[:max(0, strings.LastIndexByte(string(n), '/'))]
	}
	return n
}
