package iam

// CallerHeader is the header by which the door of functions tells a function who
// calls: a token that the platform signs, for that function alone. The caller's
// own credentials stay at the door, and a token that another function got is not
// for this one.
const CallerHeader = "Selvedge-Caller"

// PlatformHeader is the header by which the platform proves itself to a service that
// is a function behind its own door: its token for that service, which elsewhere is
// the credentials of such a call.
const PlatformHeader = "Selvedge-Platform"

// RegionHeader is the header by which a platform that passes a call on says from
// which region. It proves nothing: it is for records.
const RegionHeader = "Selvedge-Region"

// FunctionVariable is the variable by which a function on one machine is told its
// name, "project/name". Where it is not set there is no such door, and the header
// proves nothing.
const FunctionVariable = "SELVEDGE_FUNCTION"

// FunctionAudience is whom tokens for a function are for. The platform itself
// takes none of them.
func FunctionAudience(function string) string { return "functions/" + function }
