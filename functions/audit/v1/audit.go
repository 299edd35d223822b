// Package auditv1 is the contract of the audit service: descriptors, which say by
// what records are found, and configs, which say how much is recorded and for how
// long it is kept, generated from audit.proto; and where the records are. The
// service's implementation is functions/audit.
package auditv1

// The types of resources.
const (
	DescriptorType = "audit.selvedge.dev/AuditDescriptor"
	ConfigType     = "audit.selvedge.dev/AuditConfig"
)

// Where the records are as entries of logs.
const (
	// Bucket is the bucket that they are in, in the project that they belong to.
	Bucket = "_Audit"
	// ActivityLog is the log of the records of calls, ChangeLog that of changes.
	ActivityLog = "selvedge.dev/activity"
	ChangeLog   = "selvedge.dev/changes"
	// Platform is in place of a project's id for what belongs to none. It is no
	// id that a project can have.
	Platform = "_platform"
)

// DefaultConfig is the id of the config that counts.
const DefaultConfig = "default"
