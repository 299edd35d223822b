package kubeapi

import (
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
)

// discover answers the paths that say what there is.
func (s *Server) discover(parts []string) (any, bool) {
	switch {
	case len(parts) == 1 && parts[0] == "api":
		return map[string]any{"kind": "APIVersions", "versions": []string{"v1"}, "serverAddressByClientCIDRs": []any{}}, true
	case len(parts) == 2 && parts[0] == "api":
		return s.resources("", parts[1])
	case len(parts) == 1:
		groups := []any{}
		for _, g := range s.groups() {
			groups = append(groups, s.group(g))
		}
		return map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}, true
	case len(parts) == 2 && slices.Contains(s.groups(), parts[1]):
		g := s.group(parts[1])
		g["kind"], g["apiVersion"] = "APIGroup", "v1"
		return g, true
	case len(parts) == 3 && parts[0] == "apis":
		return s.resources(parts[1], parts[2])
	}
	return nil, false
}

// groups are the API groups but the core's.
func (s *Server) groups() []string {
	var out []string
	for _, k := range s.kinds {
		if k.Group != "" && !slices.Contains(out, k.Group) {
			out = append(out, k.Group)
		}
	}
	return out
}

// group is what there is to say of a group: each has one version.
func (s *Server) group(name string) map[string]any {
	i := slices.IndexFunc(s.kinds, func(k *object.Kind) bool { return k.Group == name })
	version := map[string]any{"groupVersion": s.kinds[i].APIVersion(), "version": s.kinds[i].Version}
	return map[string]any{"name": name, "versions": []any{version}, "preferredVersion": version}
}

// resources are the kinds of a group and version.
func (s *Server) resources(group, version string) (any, bool) {
	list := []any{}
	groupVersion := strings.TrimPrefix(group+"/"+version, "/")
	for _, k := range s.kinds {
		if k.Group != group || k.Version != version {
			continue
		}
		verbs := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
		switch {
		case reviews[k.Key()] != nil:
			verbs = []string{"create"}
		case k.ReadOnly:
			verbs = []string{"get", "list", "watch"}
		}
		r := map[string]any{"name": k.Plural, "singularName": k.Singular, "namespaced": !k.Cluster, "kind": k.Name, "verbs": verbs}
		if len(k.Short) > 0 {
			r["shortNames"] = k.Short
		}
		if len(k.Categories) > 0 {
			r["categories"] = k.Categories
		}
		list = append(list, r)
		if k.Status {
			list = append(list, map[string]any{"name": k.Plural + "/status", "singularName": "", "namespaced": !k.Cluster, "kind": k.Name, "verbs": []string{"get", "patch", "update"}})
		}
		if k.Group == "" && k.Plural == "pods" {
			list = append(list, map[string]any{"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": []string{"get"}})
		}
	}
	if len(list) == 0 {
		return nil, false
	}
	return map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion, "resources": list}, true
}
