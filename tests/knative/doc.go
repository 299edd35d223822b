// Package knative runs the platform on a real cluster with Knative, as the
// manifests of infra/knative put it there, and holds what people do with it on one
// machine against that: deploy a function with the stock func, post what devices
// post, query series. It runs the suite of our broker, tests/eventingtest, against
// the cluster's own too.
//
// It needs a cluster that it may have for itself, and is run by
//
//	make e2e-knative KUBECONFIG=FILE REGISTRY=HOST [GATEWAY=HOST:PORT] [HOST=ADDRESS] [VOLUME=FOLDER]
//
// REGISTRY is where images go, and where the cluster gets them. GATEWAY is where
// the hosts of Knative Services are, by default where their names resolve to.
// HOST is the address of this machine as the cluster sees it. VOLUME is a folder of
// the node for the platform's data, where the cluster has no storage class. Without
// KUBECONFIG only the manifests are built and read.
//
// It is a module of its own: neither Kubernetes nor Knative are in the product's
// go.mod.
package knative
