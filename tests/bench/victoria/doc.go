// Package victoria pins the stock VictoriaMetrics server, at the version of the
// storage engine that the platform has in it. It has no code: benchmarks and
// tests build the server from here.
package victoria
