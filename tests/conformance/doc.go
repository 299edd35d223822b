// Package conformance runs our triggers and Knative's own packages side by
// side: the verdicts of filters, what is refused as a manifest, and how delivery
// is retried and given up.
//
// It is a module of its own, so that Knative and Kubernetes are oracles in a
// test and never requirements of the platform. It has no code but tests. Where
// we differ on purpose, the difference is an entry of a table with its reason,
// and a test fails once the two no longer differ.
package conformance
