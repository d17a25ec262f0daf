// Package host is the domain of Postern and the pipeline that one callback
// takes: its types, the roles a plugin, a store and a sink play, and
// [Host.Ingest]. It imports the standard library only; everything that speaks
// to a technology stands in a package below it and implements an interface
// declared here.
//
// The words are used with one meaning each; docs/architecture.md lists them.
package host
