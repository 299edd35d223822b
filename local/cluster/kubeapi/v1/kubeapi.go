// Package kubeapiv1 is what is read of Kubernetes' protobuf: a few of its own
// kinds, with the names and the field numbers that Kubernetes gives them.
package kubeapiv1
