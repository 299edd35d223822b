// Package tsbs runs the commands of the Time Series Benchmark Suite (TSBS)
// against the real program: what it generates, loaded by its loaders for
// InfluxDB and for VictoriaMetrics, and its queries for VictoriaMetrics.
//
// The suite is no part of the project and is not built here. The test runs the
// commands that it finds on the PATH, and is skipped without them.
package tsbs
