// Package logging is the service of logs: buckets and descriptors of logs as
// resources ([Registry]), and the doors that entries come in by and are read
// back through ([Doors]). Entries are made durable by logstore/intake and found
// in the logstore.Reader behind it; this package says who may, where they go,
// and what they are in each protocol. docs/logs.md has the mappings.
//
// Google Cloud Logging's LoggingServiceV2, so that its official clients work
// with another endpoint and nothing else changed, over gRPC, gRPC-Web and
// Connect at /google.logging.v2.LoggingServiceV2/METHOD, and over REST:
//
//	POST   /v2/entries:write, :list, :tail
//	GET    /v2/projects/{project}/logs, …/locations/{location}/buckets/{bucket}/views/_AllLogs/logs
//	DELETE /v2/projects/{project}/logs/{log}
//	GET    /v2/monitoredResourceDescriptors
//
// and what is not of Google:
//
//	POST /v2/entries:count                         histograms
//	POST /v1/logs, /opentelemetry/v1/logs          OTLP over HTTP, protobuf and JSON
//	POST /opentelemetry.proto.collector.logs.v1.LogsService/Export
//	                                               OTLP over gRPC
//	POST /loki/api/v1/push                         Loki's clients
//	GET  /v1/projects/{project}/events             the events that are kept
//
// [Function] is a Knative function: it makes entries of alerts and of what
// devices say. It runs beside the doors or in a process of its own.
//
// An entry is written to one bucket: the one that the request names, or the
// default one, or if the caller may not write there, his own. What is refused is
// told in the protocol's own way, entry by entry where it has one, and counted in
// the loss ledger. A log that is deleted is out of sight at once; its entries go
// when their days do.
//
// Everything may be used concurrently. The doors do not authenticate.
package logging
