// Package config reads worker.yaml: what it may say, what it means when it says
// nothing, and what is wrong with it. It knows nothing else of toolhand.
//
// A file is checked as a whole. [Load] parses it once, walks the document
// beside [Config], and lists everything that it finds wrong, each at its line
// and column, so that an operator repairs a file in one go. The result of a
// broken file is an error and nothing else: no half of it ever takes effect.
//
// What a file may say stands in one place, worker.schema.json: keys, types,
// bounds, words, and for people what is expected (title) and what for
// (description). Editors use it ([Schema]), and so does Load: the walk knows no
// key that the schema lacks, and the values that it took are judged by a validator
// of JSON Schema. Go adds what a schema can't say (check.go), and the words. A test
// writes many values at every key and lets both judge; schema_test.go names the
// few differences.
//
// The walk is our own and neither the YAML library's nor the validator's, because
// those say neither where nor what was expected nor how to write it. A key is
// added by adding it to the schema, with its default, a field to Config, and the
// default to [Default].
//
// Precedence is flag, environment, file, default. Load gives file over default;
// [Config.Environ] lays the environment over that; flags are the command's.
//
// Which credential is used is decided here too ([FindCredential]), so that one
// place knows the order; how it goes on the wire is upstream's.
package config
