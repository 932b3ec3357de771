// Package apispec holds tests against the official OpenAPI document of the API.
// It is used by tests only.
//
// The document is not copied: it is read from the SDK's module at the version
// in go.mod, found with `go list -m`. Schemas are compiled when they are first
// needed. A union with a discriminator is checked against the one variant that
// the discriminator names: the same verdict as oneOf's, in a fraction of the
// time, and with an error that says what is wrong with that variant.
package apispec
