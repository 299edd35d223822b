package devicesv1

import (
	"errors"
	"fmt"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/resource"
)

// maxAliases bounds the aliases of one device.
const maxAliases = 256

// topic is the form of a route: an id of the liberal grammar.
const topic resource.Pattern = "topics/{route}"

// Check returns an Invalid fault with the field at fault, or nil. Whether the
// blueprint exists and the aliases are free is for the service to say.
func (d *Device) Check() error {
	name, err := resource.ParseDevice(d.GetName())
	if err != nil {
		return invalid("name", errors.Unwrap(err))
	}
	if len(d.Aliases) > maxAliases {
		return invalid("aliases", fmt.Errorf("a device has at most %d aliases", maxAliases))
	}
	seen := map[External]bool{}
	for i, alias := range d.GetAliases() {
		a := alias.External()
		path := fmt.Sprintf("aliases[%d]", i)
		if err := a.check(path + "."); err != nil {
			return err
		}
		if seen[a] {
			return invalid(path, fmt.Errorf("%s: the alias %s comes twice", path, a))
		}
		seen[a] = true
	}
	if d.Blueprint != "" {
		b, err := resource.Blueprint.Parse(d.Blueprint)
		if err != nil {
			return invalid("blueprint", errors.Unwrap(err))
		}
		if b.Project() != name.Project() {
			return invalid("blueprint", fmt.Errorf("the blueprint must be of the device's project %s", name.Project()))
		}
	}
	return checkRoute(d.Route)
}

// Check returns an Invalid fault with the field at fault, or nil.
func (b *Blueprint) Check() error {
	if _, err := resource.Blueprint.Parse(b.Name); err != nil {
		return invalid("name", errors.Unwrap(err))
	}
	if err := checkRoute(b.Route); err != nil {
		return err
	}
	return checkMappings(b.Mappings)
}

// checkRoute checks a route. The one that events come in by would send them
// round in a circle.
func checkRoute(route string) error {
	if route == "" {
		return nil
	}
	if _, err := topic.Format(route); err != nil {
		return invalid("route", errors.Unwrap(err))
	}
	if route == event.RouteProcessor {
		return invalid("route", fmt.Errorf("the route %q is where events come from", route))
	}
	return nil
}
