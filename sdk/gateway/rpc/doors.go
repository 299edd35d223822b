package rpc

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/schema"
)

// Doors tell what there is to call, to everybody with credentials:
// GET /v1/schema is a google.protobuf.FileDescriptorSet of every service, by
// which generic clients such as the command line work, and GET
// /openapi/DOMAIN.yaml the REST side of one service for people and generators.
type Doors struct {
	// Services are the services.
	Services []*schema.Service
	// OpenAPI are their documents by domain.
	OpenAPI map[string][]byte
}

// Routes adds the doors.
func (d Doors) Routes(r chi.Router) {
	r.Get("/v1/schema", authenticated(d.schema))
	r.Get("/openapi/{file}", authenticated(d.openAPI))
}

// authenticated refuses Anonymous.
func authenticated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if iam.PrincipalOf(r.Context()).Kind == iam.Anonymous {
			fault.Write(w, &fault.Error{
				Op: "rpc.Doors", Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED",
				Err: fmt.Errorf("%s needs credentials: Authorization: Bearer KEY", r.URL.Path),
			})
			return
		}
		next(w, r)
	}
}

// schema answers with the descriptors, each file after those that it imports.
func (d Doors) schema(w http.ResponseWriter, _ *http.Request) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	for _, s := range d.Services {
		for _, x := range s.Resources {
			add(x.Message.Descriptor().ParentFile())
		}
		for _, m := range s.Methods {
			add(m.Desc.ParentFile())
		}
	}
	body, err := proto.Marshal(&set)
	if err != nil {
		fault.Write(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf; messageType=google.protobuf.FileDescriptorSet")
	_, _ = w.Write(body) // a caller who went away needs no answer
}

// openAPI answers with one document.
func (d Doors) openAPI(w http.ResponseWriter, r *http.Request) {
	for domain, body := range d.OpenAPI {
		if chi.URLParam(r, "file") == domain+".yaml" {
			w.Header().Set("Content-Type", "application/yaml")
			_, _ = w.Write(body) // a caller who went away needs no answer
			return
		}
	}
	var names []string
	for domain := range d.OpenAPI {
		names = append(names, domain+".yaml")
	}
	slices.Sort(names)
	fault.Write(w, &fault.Error{Op: "rpc.OpenAPI", Kind: fault.NotFound, Reason: "NO_SUCH_DOOR", Err: fmt.Errorf("there are /openapi/%q", names)})
}
