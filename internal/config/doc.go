// Package config reads worker.yaml: what it may say, what it means when it says
// nothing, and what is wrong with it. It knows nothing else of toolhand.
//
// A file is checked as a whole. [Load] parses it once, walks the document
// beside [Config], and lists everything that it finds wrong, each at its line
// and column, so that an operator repairs a file in one go. The result of a
// broken file is an error and nothing else: no half of it ever takes effect.
//
// The walk is our own and not the YAML library's, because that stops at the
// first error and says neither what was expected nor how to write it. It follows
// the fields of Config by their yaml tags: a key is added by adding a field, its
// default in [Default], and its bounds in the table of check.go.
//
// Precedence is flag, environment, file, default. Load gives file over default;
// [Config.Environ] lays the environment over that; flags are the command's.
//
// Which credential is used is decided here too ([FindCredential]), so that one
// place knows the order; how it goes on the wire is upstream's.
package config
