// Package tests holds the tests of the repository as a whole. In this folder:
// the architecture, that is who may import whom (layers_test.go) and who may
// use which library (libraries_test.go), and the habits of the code
// (comments_test.go, size_test.go, habits_test.go). They read every Go file
// themselves, since a test that asks the go command is answered from the test
// cache after a violation.
//
// Each check is a function from a source tree to a list of problems. It is run
// on the repository and, so that it is known to fail, on a small tree with the
// fault in it. Folders below hold the end-to-end tests and, as modules of their
// own, what must stay out of the product's go.mod: lint and conformance.
package tests
