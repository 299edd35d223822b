// Package backends runs the conformance suite of series stores, and all scripts,
// on a real VictoriaMetrics server that it builds from its module. It has no code
// but tests.
package backends
