// Package loki runs the client library of Grafana Loki's own agents against the
// real program: with another endpoint, and nothing else changed.
//
// It is a module of its own, so that the library and what it needs stay out of
// the product's go.mod.
package loki
