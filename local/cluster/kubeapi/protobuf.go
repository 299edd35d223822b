package kubeapi

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	kubeapiv1 "selvedge.dev/local/cluster/kubeapi/v1"
	"selvedge.dev/local/cluster/object"
)

// protobufMedia is the media type that kubectl writes objects of Kubernetes' own
// kinds in.
const protobufMedia = "application/vnd.kubernetes.protobuf"

// protobufMagic begins every object in it.
var protobufMagic = []byte("k8s\x00")

// message is one of a kind that is read in protobuf, nil if it is not.
func message(kind string) proto.Message {
	switch kind {
	case "Secret":
		return &kubeapiv1.Secret{}
	case "ConfigMap":
		return &kubeapiv1.ConfigMap{}
	case "ServiceAccount":
		return &kubeapiv1.ServiceAccount{}
	case "SelfSubjectAccessReview":
		return &kubeapiv1.SelfSubjectAccessReview{}
	case "SelfSubjectReview":
		return &kubeapiv1.SelfSubjectReview{}
	case "DeleteOptions":
		return &kubeapiv1.DeleteOptions{}
	}
	return nil
}

// parseProtobuf reads an object in Kubernetes' protobuf.
func parseProtobuf(data []byte) (object.Object, error) {
	data, ok := bytes.CutPrefix(data, protobufMagic)
	if !ok {
		return nil, badRequestf("the object is none of Kubernetes' protobuf: it does not begin with %q", protobufMagic)
	}
	var envelope kubeapiv1.Unknown
	if err := proto.Unmarshal(data, &envelope); err != nil {
		return nil, badRequestf("the object is no protobuf: %w", err)
	}
	kind := envelope.GetTypeMeta().GetKind()
	m := message(kind)
	if m == nil {
		return nil, badRequestf("objects of the kind %q are read as application/json or application/yaml, not as %s", kind, protobufMedia)
	}
	if err := proto.Unmarshal(envelope.GetRaw(), m); err != nil {
		return nil, badRequestf("the %s is no protobuf: %w", kind, err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, badRequestf("the %s: %w", kind, err)
	}
	o, err := object.Parse(text)
	if err != nil {
		return nil, badRequestf("the %s: %w", kind, err)
	}
	o["apiVersion"], o["kind"] = envelope.GetTypeMeta().GetApiVersion(), kind
	return o, nil
}
