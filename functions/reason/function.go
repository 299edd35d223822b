package reason

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/delivery"
)

// Scripts are read where they are kept. A script that there is not is a NotFound
// fault.
type Scripts interface {
	Script(ctx context.Context, name resource.Name) (*reasonv1.Script, error)
}

// Function puts scripts into the path of messages. Handle may be called
// concurrently.
type Function struct {
	// Scripts are where the scripts are.
	Scripts Scripts
	// Publish makes the events durable that functions post beside the message.
	Publish func(ctx context.Context, events []event.Event) error
	// Functions are those of this process, by their names.
	Functions map[string]function.Handler

	// Deployed are the functions that projects deployed on this machine: nil for
	// a name that none has.
	Deployed func(project, name string) delivery.Sink

	// template is where functions by name are, "http://{name}.example.com";
	// allowed begins the URIs that scripts may have. Start takes them.
	template string
	allowed  []*url.URL
	client   *http.Client
}

var _ interface {
	function.Handler
	function.Starter
} = (*Function)(nil)

const (
	// passed is the attribute with the scripts that a message went through.
	passed = event.Reserved + "passed"
	// depth is the attribute of posted events with how many scripts posted them,
	// one after the other; maxDepth is when that is taken for a loop.
	depth    = event.Reserved + "depth"
	maxDepth = 4
)

// Start takes from the environment which functions there are: REASON_FUNCTIONS
// is where those are that were deployed by name, an address with {name} and, if
// projects have their own, {project}: "http://{name}.{project}.svc.cluster.local".
// REASON_ALLOW are addresses, separated by commas, below which a script's uri may
// be: "https://rules.example.com/". Without them none may.
func (f *Function) Start(_ context.Context, env map[string]string) error {
	// Elsewhere than where it was configured nothing is posted.
	f.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if f.template = env["REASON_FUNCTIONS"]; f.template != "" {
		if _, err := address(strings.NewReplacer("{name}", "n", "{project}", "p").Replace(f.template)); err != nil {
			return fmt.Errorf("REASON_FUNCTIONS: %w", err)
		}
	}
	for part := range strings.SplitSeq(env["REASON_ALLOW"], ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		u, err := address(part)
		if err != nil {
			return fmt.Errorf("REASON_ALLOW: %w", err)
		}
		f.allowed = append(f.allowed, u)
	}
	return nil
}

// address reads an address that events are posted to.
func address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URI")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("it is not the address of an HTTP server")
	case u.User != nil || u.Fragment != "" || u.Opaque != "" || slices.Contains(strings.Split(u.Path, "/"), ".."):
		return nil, errors.New("it has a user, a fragment, or a way up")
	}
	return u, nil
}

// sink is the function of a script.
func (f *Function) sink(s *reasonv1.Script) (delivery.Sink, error) {
	if name := s.GetFunction(); name != "" {
		if h := f.Functions[name]; h != nil {
			return delivery.InProcess(h), nil
		}
		project := resource.Name(s.GetName()).Project()
		if f.Deployed != nil {
			if sink := f.Deployed(project, name); sink != nil {
				return sink, nil
			}
		}
		if f.template == "" {
			return nil, refuse("UNKNOWN_FUNCTION", fmt.Errorf("there is no function %s", name))
		}
		u := strings.NewReplacer("{name}", name, "{project}", project).Replace(f.template)
		return delivery.HTTP{URL: u, Client: f.client}, nil
	}
	u, err := address(s.GetUri())
	if err != nil {
		return nil, refuse("SINK_NOT_ALLOWED", err)
	}
	for _, a := range f.allowed {
		if u.Scheme == a.Scheme && u.Host == a.Host && (u.Path == a.Path || strings.HasPrefix(u.Path, strings.TrimSuffix(a.Path, "/")+"/")) {
			return delivery.HTTP{URL: s.GetUri(), Client: f.client}, nil
		}
	}
	return nil, refuse("SINK_NOT_ALLOWED", fmt.Errorf("the platform does not allow %.200s", s.GetUri()))
}

// refuse is the fault of what will not succeed.
func refuse(reason string, err error) error {
	return &fault.Error{Op: "reason.Handle", Kind: fault.Invalid, Reason: reason, Err: err}
}

// Handle has the script that e's route names do its part, and replies e on its
// way to where the script says, or runs a script apart from any message.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	route := event.Extension(&e, event.Route)
	run := e.Type() == reasonv1.TypeRun && route == ""
	id := scriptOf(route)
	if run {
		id = e.Subject()
	} else if route != reasonv1.Route && !strings.HasPrefix(route, reasonv1.Route+".") {
		return nil, refuse("FROM_OUTSIDE", fmt.Errorf("the route %q names no script", route))
	}
	name, err := resource.Pattern("projects/{project}/scripts/{script}").Format(event.Extension(&e, event.Project), id)
	if err != nil {
		return nil, refuse("UNKNOWN_SCRIPT", err)
	}
	script, err := f.Scripts.Script(ctx, name)
	gone := fault.KindOf(err) == fault.NotFound
	switch {
	case gone && run:
		return nil, refuse("UNKNOWN_SCRIPT", err)
	case gone:
		function.Drop(ctx, "UNKNOWN_SCRIPT", 1) // the message is none the less a message
		return onward(e, event.RouteWriter, ""), nil
	case err != nil:
		return nil, err
	}
	before := strings.Fields(event.Extension(&e, passed))
	if slices.Contains(before, id) {
		function.Drop(ctx, "SCRIPT_LOOP", 1)
		return onward(e, event.RouteWriter, ""), nil
	}
	out, err := f.call(ctx, script, event.Clone(&e))
	if n, _ := strconv.Atoi(event.Extension(&e, depth)); n >= maxDepth && len(out.events) > 0 {
		function.Drop(ctx, "SCRIPT_LOOP", len(out.events))
		out.events = nil
	}
	if err == nil && len(out.events) > 0 {
		if err := f.Publish(ctx, out.events); err != nil {
			return nil, fmt.Errorf("posting the events of %s: %w", name, err)
		}
	}
	switch {
	case err != nil && (run || script.GetOnFailure() != reasonv1.Script_PASS):
		return nil, err
	case err != nil:
		function.Drop(ctx, "SCRIPT_FAILED", 1)
	case run || out.drop:
		return nil, nil
	case out.changed:
		if err := out.data.put(&e); err != nil {
			return nil, refuse("MALFORMED_REPLY", err)
		}
	}
	then := script.GetThen()
	if then == "" {
		then = event.RouteWriter
	}
	return onward(e, then, strings.Join(append(before, id), " ")), nil
}

// onward is e on its way to a route.
func onward(e event.Event, route, through string) *event.Event {
	e.SetExtension(event.Route, route)
	if through == "" || route == event.RouteWriter {
		e.SetExtension(passed, nil)
	} else {
		e.SetExtension(passed, through)
	}
	return &e
}

// call has the function of a script see an event, and reads what it replies.
func (f *Function) call(ctx context.Context, s *reasonv1.Script, e event.Event) (outcome, error) {
	sink, err := f.sink(s)
	if err != nil {
		return outcome{}, err
	}
	told := event.Clone(&e)
	told.SetExtension(reasonv1.AttributeScript, s.GetName())
	if len(s.GetParams()) > 0 {
		params, err := json.Marshal(s.GetParams())
		if err != nil {
			return outcome{}, err
		}
		told.SetExtension(reasonv1.AttributeParams, string(params))
	}
	timeout := defaultTimeout
	if s.GetTimeout() != nil {
		timeout = s.GetTimeout().AsDuration()
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result := sink.Deliver(within, told)
	switch {
	case result.OK():
		return read(s, &e, result.Reply)
	case result.Retry():
		return outcome{}, &fault.Error{Op: "reason.Handle", Name: s.GetName(), Kind: fault.Unavailable, Reason: "SCRIPT_AWAY", Err: fmt.Errorf("the function of %s: %w", s.GetName(), result.Err)}
	}
	return outcome{}, &fault.Error{Op: "reason.Handle", Name: s.GetName(), Kind: fault.Invalid, Reason: "SCRIPT_REFUSED", Err: fmt.Errorf("the function of %s: %w", s.GetName(), result.Err)}
}
