// Package tools pins func and kubectl, which the tests beside it build.
package tools
