package devices

import (
	"time"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/resource"
)

// kind is what the collections differ in.
type kind[T any] struct {
	pattern resource.Pattern
	// singular is the variable of the pattern's last segment.
	singular string
	// header finds the fields that every resource has.
	header func(*T) header
	// check is the resource's own check.
	check func(*T) error
	// record is what the storage indexes of the resource, without its body.
	record func(*T) record
	// fields are the ones that a caller sets.
	fields []field[T]
}

// header is the fields that every resource has.
type header struct {
	name           *string
	create, update *time.Time
}

// field is a field that a caller sets.
type field[T any] struct {
	name string
	// set takes the field over from src.
	set func(dst, src *T)
	// empty reports whether the field has no value.
	empty func(*T) bool
}

// fieldNames are the names of the fields that keep reports true for.
func (k kind[T]) fieldNames(keep func(field[T]) bool) []string {
	var names []string
	for _, f := range k.fields {
		if keep(f) {
			names = append(names, f.name)
		}
	}
	return names
}

// deviceKind is the collection of devices.
var deviceKind = kind[devicesv1.Device]{
	pattern: resource.Device, singular: "device",
	header: func(d *devicesv1.Device) header { return header{&d.Name, &d.CreateTime, &d.UpdateTime} },
	check:  (*devicesv1.Device).Check,
	record: func(d *devicesv1.Device) record {
		return record{name: d.Name, blueprint: d.Blueprint, aliases: d.Aliases}
	},
	fields: []field[devicesv1.Device]{
		{"aliases", func(d, s *devicesv1.Device) { d.Aliases = s.Aliases }, func(d *devicesv1.Device) bool { return len(d.Aliases) == 0 }},
		{"blueprint", func(d, s *devicesv1.Device) { d.Blueprint = s.Blueprint }, func(d *devicesv1.Device) bool { return d.Blueprint == "" }},
		{"route", func(d, s *devicesv1.Device) { d.Route = s.Route }, func(d *devicesv1.Device) bool { return d.Route == "" }},
	},
}

// blueprintKind is the collection of blueprints.
var blueprintKind = kind[devicesv1.Blueprint]{
	pattern: resource.Blueprint, singular: "blueprint",
	header: func(b *devicesv1.Blueprint) header { return header{&b.Name, &b.CreateTime, &b.UpdateTime} },
	check:  (*devicesv1.Blueprint).Check,
	record: func(b *devicesv1.Blueprint) record { return record{name: b.Name} },
	fields: []field[devicesv1.Blueprint]{
		{"route", func(d, s *devicesv1.Blueprint) { d.Route = s.Route }, func(b *devicesv1.Blueprint) bool { return b.Route == "" }},
		{"mappings", func(d, s *devicesv1.Blueprint) { d.Mappings = s.Mappings }, func(b *devicesv1.Blueprint) bool { return len(b.Mappings) == 0 }},
	},
}
