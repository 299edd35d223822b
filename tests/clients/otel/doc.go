// Package otel runs the stock SDK of OpenTelemetry and its OTLP exporters, over
// HTTP and gRPC, against the real program: with another endpoint, and nothing
// else changed.
//
// It is a module of its own, so that OpenTelemetry and what it needs stay out
// of the product's go.mod.
package otel
