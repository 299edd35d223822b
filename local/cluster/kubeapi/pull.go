package kubeapi

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"selvedge.dev/local/cluster/object"
)

// The secret that the default account of every namespace pulls images with. The
// platform needs none: it has the images. But func looks whether there is one
// that the registry takes, and warns if not.
const (
	pullSecret     = "selvedge-registry"
	pullSecretType = "kubernetes.io/dockerconfigjson"
	pullSecretKey  = ".dockerconfigjson"
)

// pullUser is the name that the registry is called by. It looks at the password
// alone, which is a key of the platform.
const pullUser = "selvedge"

// loopback are the names by which a platform on this machine is called.
var loopback = []string{"127.0.0.1", "localhost", "::1"}

// account is the service account of a namespace that nobody made.
func account(kind *object.Kind, namespace string) object.Object {
	o := kind.New(namespace, defaultAccount)
	o["imagePullSecrets"] = []any{map[string]any{"name": pullSecret}}
	return o
}

// pulling is the secret that who asks pulls images with: what he asks with. It
// is stored nowhere, and tells nobody what he does not know.
func pulling(r *http.Request, kind *object.Kind, namespace string) (object.Object, bool) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, false
	}
	auths := map[string]any{}
	for _, host := range hosts(r.Host) {
		auths[host] = map[string]any{"username": pullUser, "password": key}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return nil, false
	}
	o := kind.New(namespace, pullSecret)
	o["type"], o["data"] = pullSecretType, map[string]any{pullSecretKey: base64.StdEncoding.EncodeToString(text)}
	return o, true
}

// hosts are the names of the registry in those of images: that of the platform,
// and on one's own machine also its others.
func hosts(host string) []string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return []string{host}
	}
	if ip, err := netip.ParseAddr(name); name != "localhost" && (err != nil || !ip.IsLoopback()) {
		return []string{host}
	}
	all := []string{host}
	for _, n := range loopback {
		if h := net.JoinHostPort(n, port); h != host {
			all = append(all, h)
		}
	}
	return all
}
