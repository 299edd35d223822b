package ingest

import (
	"context"
	"errors"

	"selvedge.dev/sdk/jsonscan"
)

// unseen is a field of an object that is not known yet.
type unseen struct {
	path  string
	value value
}

// object reads a JSON object: every number and every boolean in it is a point
// of the metric EVENTTYPE/PATH at the event's time. With the event type
// "com.example.climate",
//
//	{"temperature": 21.5, "battery": {"volts": 3.7, "low": false}, "cpu": [0.1, 0.2]}
//
// makes points of com.example.climate/temperature, …/battery/volts,
// …/battery/low, …/cpu/0 and …/cpu/1.
//
// Of a path that is there twice the last number or boolean counts; a slash in
// a name is not told from the one between names. Fields after the first
// Options.MaxFields are dropped.
func (r *run) object(ctx context.Context) error {
	w := walker{Scanner: jsonscan.New(r.event.Data), path: r.batch.path[:0]}
	fields := 0
	err := w.walk(func(path []byte, v scalar) {
		if v.Kind != jsonscan.Number && v.Kind != jsonscan.Bool {
			return
		}
		if fields++; fields > r.opts.MaxFields {
			r.batch.lose(TooManyFields, 1)
			return
		}
		val := v.value()
		if !r.admits(r.event.Time, val) {
			return
		}
		if k := r.shape.known[string(path)]; k != nil {
			r.put(k, r.event.Time, val)
			return
		}
		// Descriptors are made when the whole text has been read and found
		// to be well formed.
		r.batch.unseen = append(r.batch.unseen, unseen{string(path), val})
	})
	r.batch.path = w.path
	switch {
	case errors.Is(err, errNoObject):
		return invalid(NotAnObject, err)
	case err != nil:
		return malformed(MalformedJSON, err)
	}
	for _, u := range r.batch.unseen {
		if err := r.first(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// first adds the point of a field that was not known before this event.
func (r *run) first(ctx context.Context, u unseen) error {
	k := r.shape.known[u.path] // by now, if the path is there twice
	if k == nil {
		var err error
		if k, err = r.learn(ctx, u.path, declaration{
			metric: r.event.Type + "/" + u.path, valueType: u.value.valueType(),
			resource: resourceDevice, resourceLabels: r.shape.resource,
		}); err != nil {
			return err
		}
	}
	r.put(k, r.event.Time, u.value)
	return nil
}
