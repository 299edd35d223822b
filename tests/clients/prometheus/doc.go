// Package prometheus runs Prometheus itself against the real program: its query
// engine over the same data as the oracle of ours, the scripts of its own tests,
// its client library, and the program that scrapes and writes.
//
// It is a module of its own, so that Prometheus and what it needs stay out of
// the product's go.mod.
package prometheus
