// Package gateway is the front of the platform.
//
// [Status] and [Losses] are the doors that only the platform's port has, beside
// those that sdk/gateway gives every program that serves something: to how the
// platform is and to what was lost.
//
// [Function] is one address for the platform and for those of its services that
// are deployed as functions of their own. It hands every request on as it came, to
// whom its path belongs: it authenticates nobody, has no credentials, and reads no
// body.
//
// All of it may be used concurrently.
package gateway
