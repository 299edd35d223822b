// Package tools pins the programs that make code of .proto files, and holds what
// they made against validators that would bring too much into the platform's own
// module. It has no code but tests.
package tools
