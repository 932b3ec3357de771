//go:build !race

package guard

// raced reports whether the race detector is built in.
const raced = false
