// Package telegraf runs the stock Telegraf, the agent of InfluxData, against
// the real program: its outputs for InfluxDB 1 and 2, for OpenTelemetry and for
// Prometheus' remote write, with another address and nothing else changed.
//
// It is a module of its own, so that Telegraf and what it needs stay out of the
// product's go.mod. The build tags of Telegraf leave out all plugins but those
// that the tests use.
package telegraf
