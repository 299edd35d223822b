// Package resourcev1 is the vocabulary of resources: the options that proto
// files describe them with, the metadata that each has, the messages that the
// methods of every type share, and the records that the framework keeps for
// itself. It has no code but what is generated; sdk/schema reads it.
package resourcev1
