// Package telemetry makes the worker's logger: slog, as JSON or for a terminal,
// without secrets. It knows nothing else of toolhand.
//
// Secrets are taken out where lines leave the process and not where they are
// made: [Redact] wraps the writer. So nothing can go past it, whatever type
// carried the secret and whichever attribute, key, group, error or message it
// stood in, and a line without one costs a search and no reflection. It is the
// last line of defence: types that hold a secret hide it by themselves.
package telemetry
