package tools

import "context"

// A Watcher sees what a person who tries a tool wants to know besides the result. Its
// functions must not be nil, and may be called by many goroutines.
type Watcher struct {
	// Stderr receives the end of what a program wrote to stderr, where the result does
	// not show it.
	Stderr func(text string)
	// Warn receives what the log would be warned of.
	Warn func(text string)
}

type watcherKey struct{}

// WithWatcher gives the calls under ctx a Watcher.
func WithWatcher(ctx context.Context, w Watcher) context.Context {
	return context.WithValue(ctx, watcherKey{}, w)
}

// WatcherOf is the Watcher of a call, and whether it has one.
func WatcherOf(ctx context.Context) (Watcher, bool) {
	w, ok := ctx.Value(watcherKey{}).(Watcher)
	return w, ok
}
