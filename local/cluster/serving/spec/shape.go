package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shape is which fields an object may have, and the shapes of their values; nil
// is any value. The shape of a list is that of its elements.
type shape map[string]shape

// The shapes of what a template holds. A field that Knative knows and that is
// not here is refused by its name.
var (
	metadataShape  = shape{"name": nil, "generateName": nil, "labels": nil, "annotations": nil, "creationTimestamp": nil, "namespace": nil}
	referenceShape = shape{"name": nil, "optional": nil}
	keyShape       = shape{"name": nil, "key": nil, "optional": nil}
	itemShape      = shape{"key": nil, "path": nil, "mode": nil}
	probeShape     = shape{
		"httpGet":             {"path": nil, "port": nil, "scheme": nil, "host": nil, "httpHeaders": {"name": nil, "value": nil}},
		"tcpSocket":           {"port": nil, "host": nil},
		"initialDelaySeconds": nil, "timeoutSeconds": nil, "periodSeconds": nil, "successThreshold": nil, "failureThreshold": nil,
		"terminationGracePeriodSeconds": nil,
	}
	projectedShape = shape{"name": nil, "optional": nil, "items": itemShape}
	containerShape = shape{
		"name": nil, "image": nil, "command": nil, "args": nil, "workingDir": nil, "imagePullPolicy": nil,
		"env": {
			"name": nil, "value": nil,
			"valueFrom": {"secretKeyRef": keyShape, "configMapKeyRef": keyShape},
		},
		"envFrom":       {"prefix": nil, "secretRef": referenceShape, "configMapRef": referenceShape},
		"ports":         {"name": nil, "containerPort": nil, "protocol": nil},
		"resources":     {"requests": nil, "limits": nil},
		"livenessProbe": probeShape, "readinessProbe": probeShape, "startupProbe": probeShape,
		"securityContext": {
			"runAsUser": nil, "runAsGroup": nil, "runAsNonRoot": nil, "readOnlyRootFilesystem": nil, "allowPrivilegeEscalation": nil,
			"privileged": nil, "capabilities": {"drop": nil}, "seccompProfile": {"type": nil},
		},
		"volumeMounts":           {"name": nil, "mountPath": nil, "subPath": nil, "readOnly": nil},
		"terminationMessagePath": nil, "terminationMessagePolicy": nil,
	}
	volumeShape = shape{
		"name":      nil,
		"secret":    {"secretName": nil, "optional": nil, "items": itemShape, "defaultMode": nil},
		"configMap": {"name": nil, "optional": nil, "items": itemShape, "defaultMode": nil},
		"emptyDir":  {"medium": nil, "sizeLimit": nil},
		"projected": {"defaultMode": nil, "sources": {"secret": projectedShape, "configMap": projectedShape}},
	}
	templateShape = shape{
		"metadata": metadataShape,
		"spec": {
			"containerConcurrency": nil, "timeoutSeconds": nil, "responseStartTimeoutSeconds": nil,
			"serviceAccountName": nil, "imagePullSecrets": referenceShape, "enableServiceLinks": nil, "automountServiceAccountToken": nil,
			"containers": containerShape, "volumes": volumeShape,
		},
	}
	trafficShape = shape{"revisionName": nil, "configurationName": nil, "latestRevision": nil, "percent": nil, "tag": nil}
)

// unknown are the paths of the fields of v that s has not.
func (s shape) unknown(path string, v any) []string {
	if s == nil {
		return nil
	}
	var out []string
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			out = append(out, s.unknown(fmt.Sprintf("%s[%d]", path, i), e)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below, ok := s[name]
			at := strings.TrimPrefix(path+"."+name, ".")
			switch {
			case v[name] == nil:
			case !ok:
				out = append(out, at)
			default:
				out = append(out, below.unknown(at, v[name])...)
			}
		}
	}
	return out
}
