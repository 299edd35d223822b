package service

import (
	"fmt"
	"strings"

	"selvedge.dev/sdk/schema"
)

// Set finds services by their methods. It is made by [NewSet] and safe for
// concurrent use.
type Set struct {
	services []*Service
	// methods are by full name.
	methods map[string]found
}

// found is a method and who answers it.
type found struct {
	service *Service
	method  *schema.Method
}

// NewSet joins services. Two that answer the same method are an error.
func NewSet(services ...*Service) (*Set, error) {
	set := &Set{services: services, methods: map[string]found{}}
	for _, s := range services {
		for _, m := range s.schema.Methods {
			if _, ok := set.methods[string(m.Name)]; ok {
				return nil, fmt.Errorf("service: two services answer %s", m.Name)
			}
			set.methods[string(m.Name)] = found{s, m}
		}
	}
	return set, nil
}

// Services are the services of the set, in the order that they came in.
func (s *Set) Services() []*Service { return s.services }

// Find finds a method by its full name, "selvedge.devices.v1.DeviceService.GetDevice",
// or its procedure, "/selvedge.devices.v1.DeviceService/GetDevice".
func (s *Set) Find(name string) (*Service, *schema.Method, bool) {
	if procedure, ok := strings.CutPrefix(name, "/"); ok {
		name = strings.Replace(procedure, "/", ".", 1)
	}
	f, ok := s.methods[name]
	return f.service, f.method, ok
}
