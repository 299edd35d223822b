// Package registry holds clients of the OCI distribution specification that are
// not ours against the platform's registry: go-containerregistry, which is what
// func pushes with, and skopeo where it is installed.
package registry
