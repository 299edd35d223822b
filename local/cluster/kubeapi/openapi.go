package kubeapi

import (
	"fmt"
	"net/http"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// openAPI answers the OpenAPI documents, one for each group and version. Their
// schemas leave the fields open: the kinds check what they are given. kubectl
// looks in them for the parameter that says that the server does so.
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request, parts []string) error {
	if r.Method != http.MethodGet {
		return notAllowed(r)
	}
	if len(parts) == 0 || parts[0] != "v3" {
		return &fault.Error{Op: "kubeapi", Kind: fault.NotFound, Err: errNoSuch}
	}
	of := strings.Join(parts[1:], "/")
	paths := map[string]any{}
	schemas := map[string]any{}
	for _, k := range s.kinds {
		at := "apis/" + k.APIVersion()
		if k.Group == "" {
			at = "api/" + k.Version
		}
		if of == "" {
			paths[at] = map[string]any{"serverRelativeURL": Prefix + "/openapi/v3/" + at + "?hash=" + s.Version}
		}
		if of == at {
			describe(k, "/"+at, paths, schemas)
		}
	}
	switch {
	case of == "":
		return s.write(w, http.StatusOK, map[string]any{"paths": paths})
	case len(paths) == 0:
		return &fault.Error{Op: "kubeapi", Kind: fault.NotFound, Err: errNoSuch}
	}
	return s.write(w, http.StatusOK, map[string]any{
		"openapi": "3.0.0", "info": map[string]any{"title": "Selvedge", "version": s.Version},
		"paths": paths, "components": map[string]any{"schemas": schemas},
	})
}

// describe adds the paths of a kind and its schema.
func describe(k *object.Kind, root string, paths, schemas map[string]any) {
	kind := []any{map[string]any{"group": k.Group, "version": k.Version, "kind": k.Name}}
	one := map[string]any{"group": k.Group, "version": k.Version, "kind": k.Name}
	path := root + "/" + k.Plural
	if !k.Cluster {
		path = root + "/namespaces/{namespace}/" + k.Plural
	}
	validated := []any{}
	for _, p := range []string{"dryRun", "fieldManager", "fieldValidation"} {
		validated = append(validated, map[string]any{"name": p, "in": "query", "schema": map[string]any{"type": "string", "uniqueItems": true}})
	}
	do := func(action string, parameters []any) map[string]any {
		return map[string]any{
			"x-kubernetes-action": action, "x-kubernetes-group-version-kind": one, "parameters": parameters,
			"responses": map[string]any{"200": map[string]any{"description": "OK"}},
		}
	}
	paths[path] = map[string]any{"get": do("list", []any{}), "post": do("post", validated)}
	paths[path+"/{name}"] = map[string]any{"get": do("get", []any{}), "put": do("put", validated), "patch": do("patch", validated), "delete": do("delete", []any{})}
	object := func(description string) map[string]any {
		return map[string]any{"type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": true}
	}
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	schemas[fmt.Sprintf("dev.selvedge.%s.%s.%s", strings.ReplaceAll(k.Group, ".", "-"), k.Version, k.Name)] = map[string]any{
		"type": "object", "x-kubernetes-group-version-kind": kind, "x-kubernetes-preserve-unknown-fields": true,
		"description": fmt.Sprintf("%s as Kubernetes and Knative define it; docs/serving.md says which fields are taken.", k.Name),
		"properties": map[string]any{
			"apiVersion": text("The group and version, " + k.APIVersion() + "."), "kind": text("The kind, " + k.Name + "."),
			"metadata": object("Name, namespace, labels, annotations and owners."),
			"spec":     object("What is wanted."), "status": object("What is."),
		},
	}
}
