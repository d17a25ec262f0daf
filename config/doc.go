// Package config turns a YAML file, the environment and command line flags into
// one checked, immutable [Config], or into the list of everything that is wrong
// with them.
//
// The layers are, the later winning: [Default], the file, the environment, the
// flags. An environment variable is the key with POSTERN__ before it and its
// levels split by two underscores, in capitals: intake.listen is
// POSTERN__INTAKE__LISTEN. In names (of tenants, endpoints, sinks and secrets)
// an underscore stands for a hyphen, so that a shell can export them. A flag is
// the dotted key itself: --intake.listen.
//
// The package knows nothing of plugins' manifests: which secrets a plugin needs,
// in which form, and which settings it takes is checked by whoever loads it.
package config
