// Package reason puts functions of users into the path of messages: what a device
// sends goes through the script that its route names, whose function may change
// it before it is saved, keep state, and post events of its own, such as those
// that send an e-mail or set a timer.
//
// [Function] is in the path. It calls the user's function and replies the message
// with what is new of it, so that nothing is lost when that replies nothing, and
// a message stays what it is: its project, its device and its id are not for the
// function to say. [Service] keeps the scripts and their state.
package reason

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// Service keeps scripts and their state. Calls may be concurrent.
type Service struct {
	*service.Service
	store *store.Store
	log   *slog.Logger
	now   func() time.Time
	// script and state are the types.
	script, state *schema.Resource
}

var _ Scripts = (*Service)(nil)

// NewService makes the service over a store with its types. Hooks and custom
// methods are added to the options.
func NewService(st *store.Store, o service.Options) (*Service, error) {
	s := &Service{store: st, log: o.Logger, now: o.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var desc *schema.Service
	for _, d := range st.Types().Services() {
		if d.Package == reasonv1.File_functions_reason_v1_reason_proto.Package() {
			desc = d
		}
	}
	var known bool
	if s.script, known = st.Types().Type(reasonv1.ScriptType); !known || desc == nil {
		return nil, errors.New("reason: the store does not have the service's types")
	}
	s.state, _ = st.Types().Type(reasonv1.StateType)
	o.Hooks = append(o.Hooks, service.On(service.Hooks[*reasonv1.Script]{Validate: func(_ context.Context, _, x *reasonv1.Script) error { return check(x) }}))
	o.Methods = append(o.Methods,
		service.Handle("States.GetState", s.getState),
		service.Handle("States.PutState", s.putState),
		service.Handle("States.DeleteState", s.deleteState),
	)
	var err error
	s.Service, err = service.New(desc, st, o)
	return s, err
}

// maxTimeout is how long a function may take: an attempt of the broker has half a
// minute.
const (
	maxTimeout     = 25 * time.Second
	defaultTimeout = 10 * time.Second
)

// check checks a script.
func check(x *reasonv1.Script) error {
	switch {
	case x.GetSink() == nil, x.GetUri() == "" && x.GetFunction() == "":
		return invalid("uri", errors.New("one of uri and function is needed"))
	case x.GetUri() != "":
		if _, err := address(x.GetUri()); err != nil {
			return invalid("uri", err)
		}
	}
	if d := x.GetTimeout(); d != nil && (d.CheckValid() != nil || d.AsDuration() <= 0 || d.AsDuration() > maxTimeout) {
		return invalid("timeout", fmt.Errorf("a function has at most %s", maxTimeout))
	}
	switch then := x.GetThen(); {
	case then == "", then == event.RouteWriter:
	case then == event.RouteProcessor:
		return invalid("then", fmt.Errorf("the route %q is where messages come from", then))
	case then == reasonv1.Route, strings.HasPrefix(then, reasonv1.Route+"."):
		if scriptOf(then) == resource.Name(x.GetName()).ID() {
			return invalid("then", errors.New("a message does not go through one script twice"))
		}
	}
	return nil
}

// scriptOf is the id of the script that a route names.
func scriptOf(route string) string {
	if id, ok := strings.CutPrefix(route, reasonv1.Route+"."); ok {
		return id
	}
	return "default"
}

// invalid is the fault of a script.
func invalid(field string, err error) error {
	return &fault.Error{Op: "reason.Script", Kind: fault.Invalid, Reason: "INVALID_SCRIPT", Field: field, Err: err}
}

// Script implements [Scripts], by the store's cache.
func (s *Service) Script(ctx context.Context, name resource.Name) (script *reasonv1.Script, err error) {
	err = s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err := s.store.GetShared(ctx, s.script, name)
		script, _ = m.(*reasonv1.Script)
		return err
	})
	return script, err
}
