// Package layers has no code: its tests hold the repository to its own rules.
// Who may know whom, how long a file and a function may be, what is documented,
// that the binary builds without cgo and for macOS, that the files for operators
// fit the code beside them.
//
// A rule that is broken names the place, the rule and its reason. The rules
// themselves are tables here; a new package needs a line in one of them.
package layers
