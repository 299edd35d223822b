// Package ingest turns the data of events into samples of time series.
//
// A [Decoder] reads four forms of data, chosen by [Event.MediaType],
// [Event.Type] and [Event.Plan], in this order:
//
//   - a SenML pack (RFC 8428) in JSON: senml.go;
//   - a google.monitoring.v3 CreateTimeSeriesRequest in JSON: timeseries.go;
//   - a JSON object whose fields a blueprint maps: mapped.go;
//   - any other JSON object, one metric per number or boolean: object.go.
//
// # Verdicts
//
// Every point gets a verdict of its own, and one bad point never sinks the
// others: what cannot be stored is counted in [Batch.Losses] under one of the
// reasons of verdict.go. Only data that is not understood as a whole is an
// error, of kind Invalid; then nothing was stored and no descriptor was made.
// Strings and nulls are no points, so they are no losses either.
//
// # What the first point decides
//
// A metric that has no descriptor gets one with its first point: the kind and
// unit that the form states (else GAUGE and none), and DOUBLE or BOOL as the
// value is a number or a boolean. Later points fit or are dropped. A form
// that states no kind takes the descriptor's: a counter that was declared
// CUMULATIVE can be fed by plain JSON.
//
// # Speed
//
// Most of what the platform stores passes through here, as JSON, so JSON is
// read in one pass by sdk/jsonscan, and what a field of a device means, down
// to the *tsdb.Series, is remembered: a field that was seen before costs a map
// lookup and no allocation. The memory is bounded ([Options.MaxSeries]); what
// falls out of it is looked up again.
//
// A Decoder may be used concurrently, a [Batch] may not. Nothing here does
// I/O, except that unknown metrics are asked for at tsdb.Descriptors.
package ingest
