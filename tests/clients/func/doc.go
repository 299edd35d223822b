// Package func_ runs Knative's stock func and Kubernetes' stock kubectl against
// the real program: the configuration that `selvedge kubeconfig --merge` writes,
// and nothing else.
//
// It is a module of its own, and so are the tools: neither Kubernetes nor
// Knative are in the product's go.mod.
package func_
