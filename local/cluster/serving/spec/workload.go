package spec

import (
	"fmt"

	"selvedge.dev/local/cluster/object"
)

// podKind is the kind of the objects that say which instances run.
func podKind() *object.Kind {
	return &object.Kind{
		Version: "v1", Name: "Pod", Plural: "pods", Singular: "pod", Short: []string{"po"}, Categories: []string{"all"}, Status: true, ReadOnly: true,
		Columns: []object.Column{
			{Name: "Ready", Type: "string", Of: func(o object.Object) any {
				ready, all := 0, 0
				for _, c := range containerStatuses(o) {
					all++
					if is, _ := c.Get("ready").(bool); is {
						ready++
					}
				}
				return fmt.Sprintf("%d/%d", ready, all)
			}},
			{Name: "Status", Type: "string", Of: podStatus},
			{Name: "Restarts", Type: "integer", Of: func(o object.Object) any {
				n := int64(0)
				for _, c := range containerStatuses(o) {
					n += c.Int("restartCount")
				}
				return n
			}},
			{Name: "IP", Type: "string", Wide: true, Of: func(o object.Object) any { return o.Text("status", "podIP") }},
			{Name: "Node", Type: "string", Wide: true, Of: func(o object.Object) any { return o.Text("spec", "nodeName") }},
		},
	}
}

// containerStatuses are those of a pod.
func containerStatuses(o object.Object) []object.Object {
	list, _ := o.Get("status", "containerStatuses").([]any)
	var out []object.Object
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// podStatus is the one word that kubectl has for a pod.
func podStatus(o object.Object) any {
	if o.Deleting() {
		return "Terminating"
	}
	for _, c := range containerStatuses(o) {
		if why := c.Text("state", "waiting", "reason"); why != "" {
			return why
		}
		if why := c.Text("state", "terminated", "reason"); why != "" {
			return why
		}
	}
	return o.Text("status", "phase")
}

// deploymentKind is the kind of the objects that say what a revision runs.
func deploymentKind() *object.Kind {
	number := func(path ...string) func(object.Object) any {
		return func(o object.Object) any { return o.Int(path...) }
	}
	return &object.Kind{
		Group: "apps", Version: "v1", Name: "Deployment", Plural: "deployments", Singular: "deployment", Short: []string{"deploy"},
		Categories: []string{"all"}, Status: true, ReadOnly: true,
		Columns: []object.Column{
			{Name: "Ready", Type: "string", Of: func(o object.Object) any {
				return fmt.Sprintf("%d/%d", o.Int("status", "readyReplicas"), o.Int("spec", "replicas"))
			}},
			{Name: "Up-to-date", Type: "integer", Of: number("status", "updatedReplicas")},
			{Name: "Available", Type: "integer", Of: number("status", "availableReplicas")},
		},
	}
}
