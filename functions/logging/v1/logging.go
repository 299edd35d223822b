// Package loggingv1 is the contract of the logging service: descriptors of logs
// and the buckets that entries are kept in, generated from logging.proto, and
// what makes them valid. The service's implementation is functions/logging.
package loggingv1

// The types of resources.
const (
	LogDescriptorType = "logging.selvedge.dev/LogDescriptor"
	BucketType        = "logging.selvedge.dev/Bucket"
	DeletedLogType    = "logging.selvedge.dev/DeletedLog"
)

// The buckets that the platform has a use for.
const (
	// DefaultBucket is where entries go that are said to go nowhere else. Every
	// project has it.
	DefaultBucket = "_Default"
	// AuditBucket is where records of the audit log are found as entries. The
	// platform alone writes it.
	AuditBucket = "_Audit"
)

// TypeLog is the type of events with entries of a log: their data is a LogEntry
// of Google's in JSON, or {"entries": […]} of them.
const TypeLog = "dev.selvedge.log.v1"
