package iamv1

// The names of the types.
const (
	OrganizationType      = "iam.selvedge.dev/Organization"
	ProjectType           = "iam.selvedge.dev/Project"
	UserType              = "iam.selvedge.dev/User"
	ServiceAccountType    = "iam.selvedge.dev/ServiceAccount"
	ServiceAccountKeyType = "iam.selvedge.dev/ServiceAccountKey"
	GroupType             = "iam.selvedge.dev/Group"
	RoleType              = "iam.selvedge.dev/Role"
	RoleBindingType       = "iam.selvedge.dev/RoleBinding"
	InvitationType        = "iam.selvedge.dev/Invitation"
	PermissionType        = "iam.selvedge.dev/Permission"
	SigningKeyType        = "iam.selvedge.dev/SigningKey"
	SessionType           = "iam.selvedge.dev/Session"
)
