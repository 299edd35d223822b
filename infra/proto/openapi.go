package main

import (
	"bytes"
	"context"
	_ "embed" // the parts that the plugin does not know
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
	"sigs.k8s.io/yaml"
)

// errorText has what every document says of errors and of who may call.
//
//go:embed openapi.yaml.tmpl
var errorText string

// The settings of the plugin: names as in JSON, enums as text, and no error
// body, since ours is that of google.aip.dev/193.
const openAPIOptions = "naming=json,enum_type=string,default_response=false"

// openAPI is the OpenAPI document of the package: what the plugin makes, put
// right where it does not know better.
func (p *servicePackage) openAPI(ctx context.Context, plugin string, image *descriptorpb.FileDescriptorSet) ([]byte, error) {
	in, err := proto.Marshal(p.request(image, openAPIOptions+",title="+p.service.Domain+",version="+p.service.Version))
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, plugin)
	c.Stdin = bytes.NewReader(in)
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", plugin, err)
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return nil, err
	}
	if resp.Error != nil || len(resp.GetFile()) != 1 {
		return nil, fmt.Errorf("%s: %s", plugin, resp.GetError())
	}
	var doc, common map[string]any
	if err := errors.Join(yaml.Unmarshal([]byte(resp.File[0].GetContent()), &doc), yaml.Unmarshal([]byte(errorText), &common)); err != nil {
		return nil, err
	}
	merge(doc, common)
	p.correct(doc)
	unwrap(doc)
	text, err := yaml.Marshal(doc)
	return append([]byte(strings.Replace(header, "//", "#", 1)+"\n"), text...), err
}

// unwrap makes the descriptions below x, which have the line breaks of comments,
// paragraphs.
func unwrap(x any) {
	switch x := x.(type) {
	case []any:
		for _, item := range x {
			unwrap(item)
		}
	case map[string]any:
		for k, v := range x {
			if text, ok := v.(string); ok && k == "description" {
				x[k] = strings.ReplaceAll(text, "\n ", " ")
			}
			unwrap(v)
		}
	}
}

// merge adds what src has to dst.
func merge(dst, src map[string]any) {
	for k, v := range src {
		inner, ok := v.(map[string]any)
		if have, is := dst[k].(map[string]any); ok && is {
			merge(have, inner)
			continue
		}
		dst[k] = v
	}
}

// correct puts the operations right: every one has an error; the ids of the
// second and later URLs of a method differ from that of the first; a stream is
// events; and what a compare-and-set compares is no query, which ends in logs
// of proxies: it is for the other protocols.
func (p *servicePackage) correct(doc map[string]any) {
	streams := map[string]bool{}
	for _, m := range p.service.Methods {
		streams[string(m.Desc.Parent().Name())+"_"+string(m.Desc.Name())] = m.Desc.IsStreamingServer()
	}
	seen := map[string]int{}
	eachOperation(doc, func(op map[string]any) {
		id, _ := op["operationId"].(string)
		responses, _ := op["responses"].(map[string]any)
		responses["default"] = map[string]any{"$ref": "#/components/responses/Error"}
		if ok, _ := responses["200"].(map[string]any); ok != nil && streams[id] {
			content, _ := ok["content"].(map[string]any)
			content["text/event-stream"] = content["application/json"]
			delete(content, "application/json")
			ok["description"] = "A stream of server-sent events, whose data are each a message. The event \"error\" has an error and is the last."
		}
		parameters, _ := op["parameters"].([]any)
		op["parameters"] = slices.DeleteFunc(parameters, func(p any) bool {
			name, _ := p.(map[string]any)["name"].(string)
			return strings.HasPrefix(name, "cas.")
		})
		if seen[id]++; seen[id] > 1 {
			op["operationId"] = fmt.Sprintf("%s_%d", id, seen[id])
		}
	})
}

// eachOperation calls f with the operations of a document, in the order of
// their URLs.
func eachOperation(doc map[string]any, f func(map[string]any)) {
	paths, _ := doc["paths"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		item, _ := paths[name].(map[string]any)
		for _, verb := range slices.Sorted(maps.Keys(item)) {
			if op, ok := item[verb].(map[string]any); ok {
				f(op)
			}
		}
	}
}
