// Package s3 exports the audit trail to an S3 server that is not ours,
// VersityGW, and has checkpoints and proofs checked by what Go's own checksum
// database is checked with: signed notes and transparency logs of golang.org/x.
//
// It is a module of its own, so that neither is in the product's go.mod.
package s3
